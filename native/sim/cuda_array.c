/* Arrays and mipmapped arrays: memory of the card in a shape; contents are not simulated. */
#include <stdlib.h>

#include "cuda_memory.h"
#include "cuda_sparse.h"

struct CUarray_st {
    CUDA_ARRAY3D_DESCRIPTOR shape;
    CUdeviceptr memory; /* 0 for a level of a mipmapped array, and for a sparse one */
};
struct CUmipmappedArray_st {
    CUdeviceptr memory;
    unsigned levels;
    struct CUarray_st level[32];
};

static uint64_t element_bytes(CUarray_format format) {
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
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
        return 4;
    }
    return 0;
}

static size_t at_least_one(size_t n) { return n ? n : 1; }

static uint64_t bytes_of(const CUDA_ARRAY3D_DESCRIPTOR *s) {
    return s->Width * at_least_one(s->Height) * at_least_one(s->Depth) * s->NumChannels *
           element_bytes(s->Format);
}

/* It has no memory but what is mapped into it. */
static bool is_sparse(const CUDA_ARRAY3D_DESCRIPTOR *s) {
    return s->Flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING);
}

CUDA_API CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *shape) {
    CUDA_ENTER_CONTEXT(context, array && shape && shape->Width && bytes_of(shape));
    CUarray a = calloc(1, sizeof *a);
    if (!a) return CUDA_ERROR_OUT_OF_MEMORY;
    a->shape = *shape;
    CUresult result = CUDA_SUCCESS;
    if (is_sparse(shape))
        cuda_sparse_begin(a, context);
    else
        result = cuda_memory_new(context, bytes_of(shape), CUDA_DEVICE, NULL, &a->memory);
    if (result == CUDA_SUCCESS)
        *array = a;
    else
        free(a);
    return result;
}
CUDA_API CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *d) {
    if (!d) return CUDA_ERROR_INVALID_VALUE;
    CUDA_ARRAY3D_DESCRIPTOR shape = {
        .Width = d->Width, .Height = d->Height, .Format = d->Format, .NumChannels = d->NumChannels};
    return cuArray3DCreate_v2(array, &shape);
}
CUDA_API CUresult cuArrayDestroy(CUarray array) {
    CUDA_ENTER(array && (array->memory || is_sparse(&array->shape)));
    CUresult result = CUDA_SUCCESS;
    if (array->memory)
        result = cuda_memory_free(array->memory, 1u << CUDA_DEVICE);
    else
        cuda_sparse_end(array);
    free(array);
    return result;
}
CUDA_API CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR *shape, CUarray array) {
    CUDA_ENTER(shape && array);
    *shape = array->shape;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR *shape, CUarray array) {
    CUDA_ENTER(shape && array);
    *shape = (CUDA_ARRAY_DESCRIPTOR){array->shape.Width, array->shape.Height, array->shape.Format,
                                     array->shape.NumChannels};
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *shape,
                                         unsigned levels) {
    CUDA_ENTER_CONTEXT(context, array && shape && shape->Width && bytes_of(shape) && levels && levels <= 32);
    CUmipmappedArray m = calloc(1, sizeof *m);
    if (!m) return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t bytes = 0;
    CUDA_ARRAY3D_DESCRIPTOR level = *shape;
    for (m->levels = 0; m->levels < levels; m->levels++) {
        m->level[m->levels].shape = level;
        bytes += bytes_of(&level);
        level.Width = at_least_one(level.Width / 2), level.Height /= 2, level.Depth /= 2;
    }
    CUresult result = CUDA_SUCCESS;
    if (is_sparse(shape))
        cuda_sparse_begin(m, context);
    else
        result = cuda_memory_new(context, bytes, CUDA_DEVICE, NULL, &m->memory);
    if (result == CUDA_SUCCESS)
        *array = m;
    else
        free(m);
    return result;
}
CUDA_API CUresult cuMipmappedArrayGetLevel(CUarray *array, CUmipmappedArray mipmapped, unsigned level) {
    CUDA_ENTER(array && mipmapped && level < mipmapped->levels);
    *array = &mipmapped->level[level];
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) {
    CUDA_ENTER(array);
    CUresult result = CUDA_SUCCESS;
    if (array->memory)
        result = cuda_memory_free(array->memory, 1u << CUDA_DEVICE);
    else
        cuda_sparse_end(array);
    free(array);
    return result;
}
