/* What another process opens: memory of cuMemAlloc, and the descriptors for pools. Contents are not shared:
 * each process has its own. */
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cuda_memory.h"

/* What the 64 bytes of a handle begin with. */
struct ipc_handle {
    char magic[8];
    struct sim_piece piece;
    uint64_t size;
};
_Static_assert(sizeof(struct ipc_handle) <= sizeof(CUipcMemHandle), "a handle has room for it");
static const char magic[8] = "sim-ipc";

CUDA_API CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr pointer) {
    CUDA_ENTER(handle);
    struct cuda_allocation a;
    CUresult result = cuda_memory_share(pointer, &a);
    if (result != CUDA_SUCCESS) return result;
    struct ipc_handle told = {.piece = a.piece, .size = a.size};
    memcpy(told.magic, magic, sizeof magic);
    memset(handle, 0, sizeof *handle);
    memcpy(handle, &told, sizeof told);
    return CUDA_SUCCESS;
}

/* As with the real one, a process cannot open what it made. */
CUDA_API CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *pointer, CUipcMemHandle handle, unsigned flags) {
    CUDA_ENTER_CONTEXT(context, pointer && flags == CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    struct ipc_handle told;
    memcpy(&told, &handle, sizeof told);
    if (memcmp(told.magic, magic, sizeof magic) != 0) return CUDA_ERROR_INVALID_VALUE;
    if (sim_shared_is_own(cuda.node->state, cuda.slot, told.piece)) return CUDA_ERROR_INVALID_CONTEXT;
    uint64_t charged;
    if (cuda_hold(told.piece, &charged) < 0) return CUDA_ERROR_INVALID_VALUE;
    CUresult result = cuda_memory_import(context, &told.piece, told.size, pointer);
    if (result != CUDA_SUCCESS) cuda_let_go(told.piece);
    return result;
}
CUDA_API CUresult cuIpcOpenMemHandle(CUdeviceptr *pointer, CUipcMemHandle handle, unsigned flags) {
    return cuIpcOpenMemHandle_v2(pointer, handle, flags);
}

CUDA_API CUresult cuIpcCloseMemHandle(CUdeviceptr pointer) {
    CUDA_ENTER(pointer);
    return cuda_memory_free(pointer, 1u << CUDA_IMPORTED);
}

int cuda_descriptor_of(const void *object, size_t size) {
    int descriptor = (int)syscall(SYS_memfd_create, "hami-sim-memory", 1u /* closed on exec */);
    if (descriptor >= 0 && write(descriptor, object, size) != (ssize_t)size) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

bool cuda_descriptor_tells(intptr_t descriptor, void *object, size_t size) {
    return pread((int)descriptor, object, size, 0) == (ssize_t)size;
}
