/* Where managed memory is: advice changes nothing, prefetches bring it to its card or to the host. */
#include "cuda_memory.h"

CUDA_API CUresult cuMemAdvise(CUdeviceptr pointer, size_t size, int advice, CUdevice device) {
    (void)size, (void)advice;
    CUDA_ENTER(device == CU_DEVICE_CPU || cuda_device(device));
    struct cuda_allocation a;
    return cuda_memory_find(pointer, &a) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
static CUdevice device_of(CUmemLocation location) {
    return location.type == CU_MEM_LOCATION_TYPE_DEVICE ? location.id : CU_DEVICE_CPU;
}
CUDA_API CUresult cuMemAdvise_v2(CUdeviceptr pointer, size_t size, int advice, CUmemLocation location) {
    return cuMemAdvise(pointer, size, advice, device_of(location));
}

static CUresult on_cuMemPrefetchAsync(CUdeviceptr pointer, size_t size, CUdevice device, CUstream stream) {
    (void)size, (void)stream; /* it is there at once */
    if (device != CU_DEVICE_CPU && !cuda_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    return cuda_memory_bring(pointer, device != CU_DEVICE_CPU) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUDA_BOTH(cuMemPrefetchAsync, _ptsz, (CUdeviceptr pointer, size_t size, CUdevice device, CUstream stream),
          stream, pointer, size, device)

static CUresult on_cuMemPrefetchAsync_v2(CUdeviceptr pointer, size_t size, CUmemLocation location,
                                         unsigned flags, CUstream stream) {
    return flags ? CUDA_ERROR_INVALID_VALUE
                 : on_cuMemPrefetchAsync(pointer, size, device_of(location), stream);
}
CUDA_BOTH(cuMemPrefetchAsync_v2, _ptsz,
          (CUdeviceptr pointer, size_t size, CUmemLocation location, unsigned flags, CUstream stream), stream,
          pointer, size, location, flags)

static CUresult on_cuMemPrefetchBatchAsync(CUdeviceptr *pointers, size_t *sizes, size_t count,
                                           CUmemLocation *locations, size_t *firsts, size_t location_count,
                                           unsigned long long flags, CUstream stream) {
    if (!pointers || !sizes || !count || !locations || !firsts || !location_count || firsts[0] || flags)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0, at = 0; result == CUDA_SUCCESS && i < count; i++) {
        while (at + 1 < location_count && firsts[at + 1] <= i) at++;
        result = on_cuMemPrefetchAsync(pointers[i], sizes[i], device_of(locations[at]), stream);
    }
    return result;
}
#define BATCH(name)                                                                                          \
    CUDA_BOTH(name, _ptsz,                                                                                   \
              (CUdeviceptr * pointers, size_t *sizes, size_t count, CUmemLocation *locations,                \
               size_t *firsts, size_t location_count, unsigned long long flags, CUstream stream),            \
              stream, pointers, sizes, count, locations, firsts, location_count, flags)
#define on_cuMemDiscardAndPrefetchBatchAsync on_cuMemPrefetchBatchAsync
BATCH(cuMemPrefetchBatchAsync)
BATCH(cuMemDiscardAndPrefetchBatchAsync)
