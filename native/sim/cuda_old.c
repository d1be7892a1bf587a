/*
 * The interface before CUDA 3.2, which drivers still export: sizes and addresses of 32 bits. An address is
 * the number of an allocation here; nothing is copied there.
 */
#include "cuda_memory.h"

enum { MOST = 64, STEP = 512 };
static CUdeviceptr old[MOST];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t size);
CUresult cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height,
                            unsigned element);
CUresult cuMemFree_v2(CUdeviceptr pointer);
CUresult cuMemGetInfo_v2(size_t *available, size_t *total);
CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *shape);

static CUresult number(CUdeviceptr pointer, CUdeviceptr_v1 *out) {
    pthread_mutex_lock(&mutex);
    unsigned i = 0;
    while (i < MOST && old[i]) i++;
    if (i < MOST) old[i] = pointer;
    pthread_mutex_unlock(&mutex);
    *out = (i + 1) * STEP;
    if (i < MOST) return CUDA_SUCCESS;
    cuMemFree_v2(pointer);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUDA_API CUresult cuMemAlloc(CUdeviceptr_v1 *pointer, unsigned size) {
    CUDA_ENTER(pointer);
    CUdeviceptr made;
    CUresult result = cuMemAlloc_v2(&made, size);
    return result == CUDA_SUCCESS ? number(made, pointer) : result;
}
CUDA_API CUresult cuMemAllocPitch(CUdeviceptr_v1 *pointer, unsigned *pitch, unsigned width, unsigned height,
                                  unsigned element) {
    CUDA_ENTER(pointer && pitch);
    CUdeviceptr made;
    size_t row;
    CUresult result = cuMemAllocPitch_v2(&made, &row, width, height, element);
    if (result != CUDA_SUCCESS) return result;
    *pitch = (unsigned)row;
    return number(made, pointer);
}
CUDA_API CUresult cuMemFree(CUdeviceptr_v1 pointer) {
    CUDA_ENTER(pointer % STEP == 0 && pointer / STEP <= MOST);
    if (!pointer) return CUDA_SUCCESS;
    pthread_mutex_lock(&mutex);
    CUdeviceptr freed = old[pointer / STEP - 1];
    old[pointer / STEP - 1] = 0;
    pthread_mutex_unlock(&mutex);
    return freed ? cuMemFree_v2(freed) : CUDA_ERROR_INVALID_VALUE;
}

static unsigned in_32_bits(size_t size) { return size > UINT32_MAX ? UINT32_MAX : (unsigned)size; }
CUDA_API CUresult cuMemGetInfo(unsigned *available, unsigned *total) {
    CUDA_ENTER(available || total);
    size_t free_bytes, all;
    CUresult result = cuMemGetInfo_v2(&free_bytes, &all);
    if (result == CUDA_SUCCESS && available) *available = in_32_bits(free_bytes);
    if (result == CUDA_SUCCESS && total) *total = in_32_bits(all);
    return result;
}

CUDA_API CUresult cuArray3DCreate(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR_v1 *d) {
    if (!d) return CUDA_ERROR_INVALID_VALUE;
    CUDA_ARRAY3D_DESCRIPTOR shape = {d->Width, d->Height, d->Depth, d->Format, d->NumChannels, d->Flags};
    return cuArray3DCreate_v2(array, &shape);
}
CUDA_API CUresult cuArrayCreate(CUarray *array, const CUDA_ARRAY_DESCRIPTOR_v1 *d) {
    if (!d) return CUDA_ERROR_INVALID_VALUE;
    CUDA_ARRAY3D_DESCRIPTOR shape = {d->Width, d->Height, 0, d->Format, d->NumChannels, 0};
    return cuArray3DCreate_v2(array, &shape);
}
