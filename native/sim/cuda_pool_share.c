/* Pools and their memory that another process opens. It all stays the maker's: who opens it holds nothing,
 * and has to let go first, as NVIDIA's manual says. */
#include <string.h>

#include "cuda_pool.h"

/* What the descriptor of a pool tells, and the export data of a pointer. */
struct told_pool {
    int card;
};
struct told_pointer {
    char magic[8];
    uint64_t size;
};
_Static_assert(sizeof(struct told_pointer) <= sizeof(CUmemPoolPtrExportData), "there is room for it");
static const char magic[8] = "simpool";

CUDA_API CUresult cuMemPoolExportToShareableHandle(void *out, CUmemoryPool pool,
                                                   CUmemAllocationHandleType type, unsigned long long flags) {
    CUDA_ENTER(out && pool && flags == 0 && type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR &&
               pool->handle_types & type);
    struct told_pool told = {cuda.device[pool->device].gpu->card};
    *(int *)out = cuda_descriptor_of(&told, sizeof told);
    return *(int *)out < 0 ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_SUCCESS;
}

CUDA_API CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool *pool, void *from,
                                                     CUmemAllocationHandleType type,
                                                     unsigned long long flags) {
    struct told_pool told;
    CUDA_ENTER(pool && flags == 0 && type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
    if (!cuda_descriptor_tells((intptr_t)from, &told, sizeof told)) return CUDA_ERROR_INVALID_VALUE;
    for (CUdevice device = 0; device < cuda.devices; device++) {
        if (cuda.device[device].gpu->card != told.card) continue;
        *pool = cuda_pool_new(CU_MEM_ALLOCATION_TYPE_PINNED,
                              (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, device}, 0);
        if (*pool) (*pool)->imported = true;
        return *pool ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_ERROR_INVALID_DEVICE;
}

CUDA_API CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData *out, CUdeviceptr pointer) {
    CUDA_ENTER(out);
    struct cuda_allocation a;
    if (!cuda_memory_find(pointer, &a) || !a.pool) return CUDA_ERROR_INVALID_VALUE;
    struct told_pointer told = {.size = a.size};
    memcpy(told.magic, magic, sizeof magic);
    memset(out, 0, sizeof *out);
    memcpy(out, &told, sizeof told);
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemPoolImportPointer(CUdeviceptr *out, CUmemoryPool pool, CUmemPoolPtrExportData *from) {
    CUDA_ENTER_CONTEXT(context, out && pool && from && pool->imported);
    struct told_pointer told;
    memcpy(&told, from, sizeof told);
    if (memcmp(told.magic, magic, sizeof magic) != 0) return CUDA_ERROR_INVALID_VALUE;
    CUresult result = cuda_memory_import(context, NULL, told.size, out);
    if (result == CUDA_SUCCESS)
        pool->reserved += cuda_rounded(told.size); /* told here, too, as a driver may */
    return result;
}
