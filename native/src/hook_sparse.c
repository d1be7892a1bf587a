/*
 * Sparse arrays: memory is mapped into parts of them, and each holds what is in it until the part is mapped
 * anew or unmapped, or the array ends. A part is known by its corner: of one that is unmapped by another
 * corner than it was mapped by, the memory stays counted until the array ends.
 */
#include <stdlib.h>

#include "allocation.h"
#include "failpoint.h"
#include "physical.h"

typedef struct {
    uint64_t array, offset, size;
    int part;
} place;

enum { MIPTAIL = 1 << 30 };

static place place_of(const CUarrayMapInfo *info) {
    bool mipmapped = info->resourceType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY;
    place self = {.array = (uint64_t)(uintptr_t)info->resource.array, .size = 1};
    if (mipmapped) self.array = (uint64_t)(uintptr_t)info->resource.mipmap;
    if (info->subresourceType == CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_MIPTAIL) {
        self.part = MIPTAIL | (int)(info->subresource.miptail.layer & 0xffff);
        self.offset = info->subresource.miptail.offset, self.size = info->subresource.miptail.size;
    } else {
        uint64_t x = info->subresource.sparseLevel.offsetX, y = info->subresource.sparseLevel.offsetY;
        self.part = (int)((info->subresource.sparseLevel.level & 0x3f) << 16 |
                          (info->subresource.sparseLevel.layer & 0xffff));
        self.offset = x | y << 20 | (uint64_t)info->subresource.sparseLevel.offsetZ << 40;
    }
    return self;
}

static CUresult map(cuMemMapArrayAsync_type real, CUarrayMapInfo *list, unsigned int count, CUstream stream) {
    if (!real) return CUDA_ERROR_NOT_FOUND;
    if (!list || !count) return real(list, count, stream);
    binding **before = calloc(count, sizeof *before);
    if (!before) return CUDA_ERROR_OUT_OF_MEMORY;
    bool any = false;
    for (unsigned int i = 0; i < count; i++) {
        place at = place_of(&list[i]);
        before[i] = physical_unbind(at.array, at.part, at.offset, at.size);
        any = any || before[i];
    }
    CUresult result = real(list, count, stream);
    for (unsigned int i = 0; i < count && result == CUDA_SUCCESS; i++) {
        place at = place_of(&list[i]);
        if (list[i].memOperationType == CU_MEM_OPERATION_TYPE_MAP && !WRONG(REFUND_MAPPED))
            physical_bound(at.array, at.part, at.offset, at.size, list[i].memHandle.memHandle);
    }
    if (result == CUDA_SUCCESS && any) wait_for(stream);
    for (unsigned int i = 0; i < count; i++)
        if (result == CUDA_SUCCESS)
            physical_unbound(before[i]);
        else
            physical_bind_again(place_of(&list[i]).array, before[i]);
    free(before);
    return result;
}

CUresult cuMemMapArrayAsync(CUarrayMapInfo *list, unsigned int count, CUstream stream) {
    return map(REAL(cuMemMapArrayAsync), list, count, stream);
}

CUresult cuMemMapArrayAsync_ptsz(CUarrayMapInfo *list, unsigned int count, CUstream stream) {
    return map((cuMemMapArrayAsync_type)REAL(cuMemMapArrayAsync_ptsz), list, count, per_thread(stream));
}
