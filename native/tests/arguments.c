/* arguments: calls that are wrong, empty or too large end as the driver ends them, and leave nothing charged.
 */
#include <dlfcn.h>

#include "../include/cuda_abi.h"
#include "check.h"

static void *cuda;
#define CALL(symbol, parameters, ...) (((CUresult(*) parameters)dlsym(cuda, #symbol))(__VA_ARGS__))

static size_t available(void) {
    size_t bytes, total;
    CHECK(CALL(cuMemGetInfo_v2, (size_t *, size_t *), &bytes, &total) == CUDA_SUCCESS);
    return bytes;
}

static CUresult plain(CUdeviceptr *pointer, size_t size) {
    return CALL(cuMemAlloc_v2, (CUdeviceptr *, size_t), pointer, size);
}
static CUresult async(CUdeviceptr *pointer, size_t size) {
    return CALL(cuMemAllocAsync, (CUdeviceptr *, size_t, CUstream), pointer, size, NULL);
}
static CUresult pitched(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height) {
    return CALL(cuMemAllocPitch_v2, (CUdeviceptr *, size_t *, size_t, size_t, unsigned), pointer, pitch,
                width, height, 4);
}
static CUresult create(CUmemGenericAllocationHandle *handle, size_t size,
                       const CUmemAllocationProp *properties) {
    return CALL(cuMemCreate,
                (CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *, unsigned long long),
                handle, size, properties, 0);
}
static CUresult array(CUarray *into, const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    return CALL(cuArray3DCreate_v2, (CUarray *, const CUDA_ARRAY3D_DESCRIPTOR *), into, shape);
}

/* What names a card is refused by the driver, before it is asked how much there is. */
static void of_a_card(CUdevice device, CUresult refusal) {
    CUmemPoolProps pool = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                           .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
    void *made;
    CHECK(CALL(cuDevicePrimaryCtxRetain, (void *, CUdevice), &made, device) == refusal);
    CHECK(CALL(cuCtxCreate_v2, (void *, unsigned, CUdevice), &made, 0, device) == refusal);
    CHECK(CALL(cuGreenCtxCreate, (void *, CUdevResourceDesc, CUdevice, unsigned), &made, NULL, device, 1) ==
          refusal);
    CHECK(CALL(cuMemPoolCreate, (void *, const CUmemPoolProps *), &made, &pool) == refusal);
}

static void before_anything_is_initialized(void) {
    CUdeviceptr pointer;
    of_a_card(0, CUDA_ERROR_NOT_INITIALIZED);
    CHECK(plain(&pointer, 512) == CUDA_ERROR_NOT_INITIALIZED);
    CHECK(async(&pointer, 512) == CUDA_ERROR_NOT_INITIALIZED);
}

static void before_there_is_a_context(void) {
    CUdeviceptr pointer;
    CHECK(plain(&pointer, 512) == CUDA_ERROR_INVALID_CONTEXT);
}

/* A green context opens the primary one, so it costs as much, and the last of both gives it back. */
static void with_a_green_context_first(void) {
    CUgreenCtx green;
    CUcontext context;
    for (int primary_ends_last = 0; primary_ends_last <= 1; primary_ends_last++) {
        CHECK(CALL(cuGreenCtxCreate, (CUgreenCtx *, CUdevResourceDesc, CUdevice, unsigned), &green, NULL, 0,
                   1) == 0);
        CHECK(CALL(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice), &context, 0) == CUDA_SUCCESS);
        CHECK(CALL(cuCtxSetCurrent, (CUcontext), context) == CUDA_SUCCESS);
        size_t bytes, total;
        CHECK(CALL(cuMemGetInfo_v2, (size_t *, size_t *), &bytes, &total) == CUDA_SUCCESS);
        CHECK(total - bytes == (size_t)256 * MIB);
        if (primary_ends_last) CHECK(CALL(cuGreenCtxDestroy, (CUgreenCtx), green) == CUDA_SUCCESS);
        CHECK(CALL(cuDevicePrimaryCtxRelease_v2, (CUdevice), 0) == CUDA_SUCCESS);
        if (!primary_ends_last) CHECK(CALL(cuGreenCtxDestroy, (CUgreenCtx), green) == CUDA_SUCCESS);
        CHECK(CALL(cuCtxSetCurrent, (CUcontext), NULL) == CUDA_SUCCESS);
    }
}

static void with_a_context(void) {
    const size_t before = available(), huge[] = {SIZE_MAX, SIZE_MAX - 511, (size_t)1 << 62, before + 1};
    CUmemAllocationProp device = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemAllocationProp host = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .location = {CU_MEM_LOCATION_TYPE_HOST, 0}};
    CUmemAllocationProp nowhere = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                   .location = {CU_MEM_LOCATION_TYPE_DEVICE, 99}};
    CUDA_ARRAY3D_DESCRIPTOR endless = {SIZE_MAX / 2, SIZE_MAX / 2, SIZE_MAX / 2, CU_AD_FORMAT_FLOAT, 4, 0};
    CUmemGenericAllocationHandle handle;
    CUdeviceptr pointer;
    CUarray made;
    size_t pitch;

    CHECK(plain(NULL, 512) == CUDA_ERROR_INVALID_VALUE && plain(&pointer, 0) == CUDA_ERROR_INVALID_VALUE);
    CHECK(async(NULL, 512) == CUDA_ERROR_INVALID_VALUE && async(&pointer, 0) == CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        CHECK(plain(&pointer, huge[i]) == CUDA_ERROR_OUT_OF_MEMORY);
        CHECK(async(&pointer, huge[i]) == CUDA_ERROR_OUT_OF_MEMORY);
        CHECK(pitched(&pointer, &pitch, huge[i], 2) == CUDA_ERROR_OUT_OF_MEMORY);
        CHECK(pitched(&pointer, &pitch, 512, huge[i]) == CUDA_ERROR_OUT_OF_MEMORY);
    }
    CHECK(pitched(&pointer, NULL, 512, 512) == CUDA_ERROR_INVALID_VALUE);
    CHECK(pitched(NULL, &pitch, 512, 512) == CUDA_ERROR_INVALID_VALUE);
    CHECK(create(NULL, 2 * MIB, &device) == CUDA_ERROR_INVALID_VALUE);
    CHECK(create(&handle, 2 * MIB, NULL) == CUDA_ERROR_INVALID_VALUE);
    CHECK(create(&handle, (size_t)1 << 50, &device) == CUDA_ERROR_OUT_OF_MEMORY);
    CHECK(create(&handle, before + 2 * MIB, &host) == CUDA_SUCCESS &&
          available() == before); /* not the card's */
    CHECK(create(&handle, 2 * MIB, &nowhere) == CUDA_ERROR_INVALID_DEVICE);
    of_a_card(99, CUDA_ERROR_INVALID_DEVICE);
    CHECK(array(&made, NULL) == CUDA_ERROR_INVALID_VALUE &&
          array(&made, &endless) == CUDA_ERROR_OUT_OF_MEMORY);
    CHECK(CALL(cuMemFree_v2, (CUdeviceptr), 0) == CUDA_SUCCESS);
    CHECK(CALL(cuMemFree_v2, (CUdeviceptr), 12345) == CUDA_ERROR_INVALID_VALUE);
    CHECK(CALL(cuMemFreeAsync, (CUdeviceptr, CUstream), 12345, NULL) == CUDA_ERROR_INVALID_VALUE);
    CHECK(CALL(cuMemMapArrayAsync, (CUarrayMapInfo *, unsigned, CUstream), NULL, 1, NULL) ==
          CUDA_ERROR_INVALID_VALUE);
    CHECK(CALL(cuMemPoolCreate, (CUmemoryPool *, const CUmemPoolProps *), NULL, NULL) ==
          CUDA_ERROR_INVALID_VALUE);
    CHECK(CALL(cuImportExternalMemory, (CUexternalMemory *, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *), NULL,
               NULL) == CUDA_ERROR_INVALID_VALUE);
    CHECK(CALL(cuGraphInstantiateWithFlags, (CUgraphExec *, CUgraph, unsigned long long), NULL, NULL, 0) ==
          CUDA_ERROR_INVALID_VALUE);
    CHECK(CALL(cuMemGetInfo_v2, (size_t *, size_t *), NULL, NULL) == CUDA_ERROR_INVALID_VALUE);
    size_t whole = 0, left = 0; /* either alone, as OptiX asks */
    unsigned in_32_bits = 0;
    CHECK(CALL(cuMemGetInfo_v2, (size_t *, size_t *), NULL, &whole) == 0 && whole == (size_t)10240 * MIB);
    CHECK(CALL(cuMemGetInfo_v2, (size_t *, size_t *), &left, NULL) == 0 && left == before);
    CHECK(CALL(cuMemGetInfo, (unsigned *, unsigned *), NULL, &in_32_bits) == 0 && in_32_bits == UINT32_MAX);
    CHECK(CALL(cuMemGetInfo, (unsigned *, unsigned *), &in_32_bits, NULL) == 0 && in_32_bits == UINT32_MAX);
    CHECK(available() == before);

    CHECK(plain(&pointer, 512) == CUDA_SUCCESS && available() == before - 512);
    CHECK(CALL(cuMemFree_v2, (CUdeviceptr), pointer) == CUDA_SUCCESS && available() == before);
    CHECK(CALL(cuMemFree_v2, (CUdeviceptr), pointer) == CUDA_ERROR_INVALID_VALUE &&
          available() == before); /* twice */
}

int main(void) {
    CUcontext context;
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    CHECK(cuda);
    before_anything_is_initialized();
    CHECK(CALL(cuInit, (unsigned), 0) == CUDA_SUCCESS);
    before_there_is_a_context();
    with_a_green_context_first();
    CHECK(CALL(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice), NULL, 0) == CUDA_ERROR_INVALID_VALUE);
    CHECK(CALL(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice), &context, 0) == CUDA_SUCCESS);
    CHECK(CALL(cuCtxSetCurrent, (CUcontext), context) == CUDA_SUCCESS);
    with_a_context();
    printf("as the driver\n");
    return 0;
}
