/* Memory behind a pointer. */
#include "allocation.h"
#include "hook_host.h"
#include "pools.h"

static CUresult allocate(CUdeviceptr *pointer, size_t size) {
    ALLOCATE(cuMemAlloc_v2, size, CHARGE_POINTER, pointer, pointer, size);
}

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t size) {
    CUresult result = allocate(pointer, size);
    return result == CUDA_ERROR_OUT_OF_MEMORY ? host_serve(result, pointer, size) : result;
}

/* The driver widens each row to a pitch that only it knows; 512 bytes is its widest alignment. */
static uint64_t widest(size_t width) { return width > SIZE_MAX - 511 ? SIZE_MAX : (width + 511) / 512 * 512; }

static CUresult allocate_pitched(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height,
                                 unsigned int element) {
    ALLOCATE(cuMemAllocPitch_v2, times(widest(width), height), CHARGE_POINTER, pointer, pointer, pitch, width,
             height, element);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height,
                            unsigned int element) {
    CUresult result = allocate_pitched(pointer, pitch, width, height, element);
    if (result != CUDA_ERROR_OUT_OF_MEMORY || !pitch) return result;
    result = host_serve(result, pointer, times(widest(width), height));
    if (result == CUDA_SUCCESS) *pitch = widest(width);
    return result;
}

static CUresult allocate_managed(CUdeviceptr *pointer, size_t size, unsigned int flags) {
    ALLOCATE(cuMemAllocManaged, size, CHARGE_POINTER, pointer, pointer, size, flags);
}

CUresult cuMemAllocManaged(CUdeviceptr *pointer, size_t size, unsigned int flags) {
    CUresult result = allocate_managed(pointer, size, flags);
    return result == CUDA_ERROR_OUT_OF_MEMORY ? host_serve(result, pointer, size) : result;
}

CUresult cuMemFree_v2(CUdeviceptr pointer) {
    cuMemFree_v2_type real = REAL(cuMemFree_v2);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    held_charge held = hold(CHARGE_POINTER, pointer);
    bool other = !held.found && !host_served(pointer);
    CUresult result = let_go(real(pointer), &held, CHARGE_POINTER, pointer);
    if (other && result == CUDA_SUCCESS) pools_freed();
    return result;
}

/* The interface before CUDA 3.2, with 32-bit addresses, which drivers still export. */
CUresult cuMemAlloc(CUdeviceptr_v1 *pointer, unsigned int size) {
    ALLOCATE(cuMemAlloc, size, CHARGE_POINTER, pointer, pointer, size);
}

CUresult cuMemAllocPitch(CUdeviceptr_v1 *pointer, unsigned int *pitch, unsigned int width,
                         unsigned int height, unsigned int element) {
    ALLOCATE(cuMemAllocPitch, times(widest(width), height), CHARGE_POINTER, pointer, pointer, pitch, width,
             height, element);
}

CUresult cuMemFree(CUdeviceptr_v1 pointer) { RELEASE(cuMemFree, CHARGE_POINTER, pointer, pointer); }
