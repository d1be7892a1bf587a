/* Memory behind other handles: arrays, mipmapped arrays, and what other interfaces (Vulkan, OpenGL)
 * allocated. */
#include "allocation.h"
#include "physical.h"

/* A channel of an element. Compressed and video formats take no more than the largest. */
static uint64_t channel_bytes(CUarray_format format) {
    switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
    case CU_AD_FORMAT_UNORM_INT8X1 ... CU_AD_FORMAT_UNORM_INT8X4:
    case CU_AD_FORMAT_SNORM_INT8X1 ... CU_AD_FORMAT_SNORM_INT8X4:
        return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
    case CU_AD_FORMAT_UNORM_INT16X1 ... CU_AD_FORMAT_UNORM_INT16X4:
    case CU_AD_FORMAT_SNORM_INT16X1 ... CU_AD_FORMAT_SNORM_INT16X4:
        return 2;
    default:
        return 4;
    }
}

static uint64_t at_least_one(uint64_t count) { return count ? count : 1; }

/* Sparse arrays and those that are mapped later get their memory through cuMemCreate (hook_sparse.c). */
static bool has_memory(unsigned int flags) {
    return !(flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING));
}

static uint64_t bytes(uint64_t width, uint64_t height, uint64_t depth, CUarray_format format,
                      unsigned int channels) {
    uint64_t elements = times(times(width, at_least_one(height)), at_least_one(depth));
    return times(elements, at_least_one(channels) * channel_bytes(format));
}

static uint64_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    if (!shape || !has_memory(shape->Flags)) return 0;
    return bytes(shape->Width, shape->Height, shape->Depth, shape->Format, shape->NumChannels);
}

CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *shape) {
    uint64_t size = shape ? bytes(shape->Width, shape->Height, 1, shape->Format, shape->NumChannels) : 0;
    ALLOCATE(cuArrayCreate_v2, size, CHARGE_ARRAY, array, array, shape);
}

/* Such an array holds what is mapped into it, until it ends, by itself or with its context. */
static CUresult created(CUresult result, const CUDA_ARRAY3D_DESCRIPTOR *shape, const void *array) {
    if (result != CUDA_SUCCESS || has_memory(shape->Flags)) return result;
    request self = request_in_context();
    if (self.state != CARD_LIMITED) return result;
    self.own.holder = true;
    physical_holder((uint64_t)(uintptr_t)array);
    charges_put(CHARGE_ARRAY, (uint64_t)(uintptr_t)array, &self.own);
    return result;
}

static CUresult ended(CUresult result, const void *array, physical *used) {
    if (result == CUDA_SUCCESS)
        physical_released((uint64_t)(uintptr_t)array, used);
    else
        physical_let_go(used);
    return result;
}

static CUresult create_3d(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    ALLOCATE(cuArray3DCreate_v2, array_bytes(shape), CHARGE_ARRAY, array, array, shape);
}
CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    CUresult result = create_3d(array, shape);
    return created(result, shape, result == CUDA_SUCCESS ? *array : NULL);
}

static CUresult destroy(CUarray array) { RELEASE(cuArrayDestroy, CHARGE_ARRAY, array, array); }
CUresult cuArrayDestroy(CUarray array) {
    physical *used = physical_use((uint64_t)(uintptr_t)array);
    return ended(destroy(array), array, used);
}

/* All levels together are less than twice the first. */
static CUresult create_mipmapped(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *shape,
                                 unsigned int levels) {
    uint64_t size = times(array_bytes(shape), levels > 1 ? 2 : 1);
    ALLOCATE(cuMipmappedArrayCreate, size, CHARGE_ARRAY, array, array, shape, levels);
}
CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *shape,
                                unsigned int levels) {
    CUresult result = create_mipmapped(array, shape, levels);
    return created(result, shape, result == CUDA_SUCCESS ? *array : NULL);
}

static CUresult destroy_mipmapped(CUmipmappedArray array) {
    RELEASE(cuMipmappedArrayDestroy, CHARGE_ARRAY, array, array);
}
CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) {
    physical *used = physical_use((uint64_t)(uintptr_t)array);
    return ended(destroy_mipmapped(array), array, used);
}

/* Before CUDA 3.2. */
CUresult cuArrayCreate(CUarray *array, const CUDA_ARRAY_DESCRIPTOR_v1 *shape) {
    uint64_t size = shape ? bytes(shape->Width, shape->Height, 1, shape->Format, shape->NumChannels) : 0;
    ALLOCATE(cuArrayCreate, size, CHARGE_ARRAY, array, array, shape);
}

CUresult cuArray3DCreate(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR_v1 *shape) {
    uint64_t size =
        shape ? bytes(shape->Width, shape->Height, shape->Depth, shape->Format, shape->NumChannels) : 0;
    ALLOCATE(cuArray3DCreate, size, CHARGE_ARRAY, array, array, shape);
}

/* Vulkan's and OpenGL's own calls are not ours: their memory is seen, and counted, when CUDA is given it. */
CUresult cuImportExternalMemory(CUexternalMemory *memory,
                                const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *description) {
    uint64_t size = description ? description->size : 0;
    ALLOCATE(cuImportExternalMemory, size, CHARGE_EXTERNAL, memory, memory, description);
}

CUresult cuDestroyExternalMemory(CUexternalMemory memory) {
    RELEASE(cuDestroyExternalMemory, CHARGE_EXTERNAL, memory, memory);
}
