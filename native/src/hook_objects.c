/* Memory behind a handle: physical memory to be mapped (VMM), arrays, mipmapped arrays. */
#include "hook_memory.h"

static size_t element_bytes(CUarray_format format) {
    switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
        return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
        return 2;
    default:
        return 4;
    }
}

static size_t at_least_one(size_t count) { return count ? count : 1; }

static size_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    return shape->Width * at_least_one(shape->Height) * at_least_one(shape->Depth) *
           at_least_one(shape->NumChannels) * element_bytes(shape->Format);
}

/* Only memory of a card is counted, and by the card it lies on, not by the current context's. */
CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *properties,
                     unsigned long long flags) {
    cuMemCreate_type real = REAL(cuMemCreate);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    budget *card = NULL;
    charge taken = {0};
    card_state state = CARD_FREE;
    if (properties && properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE)
        state = card_of_device(properties->location.id, &card);
    if (!reserve(state, card, size, &taken)) return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = real(handle, size, properties, flags);
    return settle(result, state, card, CHARGE_HANDLE, result == CUDA_SUCCESS ? *handle : 0, &taken);
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    RELEASE(cuMemRelease, CHARGE_HANDLE, handle, handle);
}

CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *shape) {
    if (!shape) return CUDA_ERROR_INVALID_VALUE;
    CUDA_ARRAY3D_DESCRIPTOR flat = {.Width = shape->Width,
                                    .Height = shape->Height,
                                    .Format = shape->Format,
                                    .NumChannels = shape->NumChannels};
    ALLOCATE(cuArrayCreate_v2, array_bytes(&flat), CHARGE_ARRAY, *array, array, shape);
}

CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    if (!shape) return CUDA_ERROR_INVALID_VALUE;
    ALLOCATE(cuArray3DCreate_v2, array_bytes(shape), CHARGE_ARRAY, *array, array, shape);
}

CUresult cuArrayDestroy(CUarray array) { RELEASE(cuArrayDestroy, CHARGE_ARRAY, array, array); }

/* All levels together are less than twice the first. */
CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *shape,
                                unsigned int levels) {
    if (!shape) return CUDA_ERROR_INVALID_VALUE;
    size_t size = array_bytes(shape) * (levels > 1 ? 2 : 1);
    ALLOCATE(cuMipmappedArrayCreate, size, CHARGE_ARRAY, *array, array, shape, levels);
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) {
    RELEASE(cuMipmappedArrayDestroy, CHARGE_ARRAY, array, array);
}
