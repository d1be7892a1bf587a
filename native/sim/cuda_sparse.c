/* Sparse arrays: each part holds what is mapped into it; what is asked for is done at once. */
#include "cuda_sparse.h"

#include <stdlib.h>
#include <string.h>

#include "cuda_vmm.h"

struct part {
    CUarrayMapInfo info;
    struct cuda_physical *physical;
    struct part *next;
};
struct sparse {
    const void *array;
    CUcontext owner;
    struct sparse *next;
};
static struct part *parts; /* these guarded by cuda_vmm_mutex */
static struct sparse *arrays;

static const void *array_of(const CUarrayMapInfo *info) {
    return info->resourceType == CU_RESOURCE_TYPE_ARRAY ? (const void *)info->resource.array
                                                        : (const void *)info->resource.mipmap;
}

/* Parts are mapped and unmapped as wholes. */
static bool same_part(const CUarrayMapInfo *one, const CUarrayMapInfo *other) {
    if (array_of(one) != array_of(other) || one->subresourceType != other->subresourceType) return false;
    bool tail = one->subresourceType == CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_MIPTAIL;
    return tail ? one->subresource.miptail.layer == other->subresource.miptail.layer &&
                      one->subresource.miptail.offset == other->subresource.miptail.offset
                : memcmp(&one->subresource.sparseLevel, &other->subresource.sparseLevel,
                         sizeof one->subresource.sparseLevel) == 0;
}

static void take_out(struct part **at) {
    struct part *gone = *at;
    *at = gone->next;
    cuda_physical_drop(gone->physical);
    free(gone);
}

void cuda_sparse_begin(const void *array, CUcontext owner) {
    struct sparse *made = malloc(sizeof *made);
    if (!made) abort();
    pthread_mutex_lock(&cuda_vmm_mutex);
    *made = (struct sparse){array, cuda_owner(owner), arrays};
    arrays = made;
    pthread_mutex_unlock(&cuda_vmm_mutex);
}

/* That array, or else all of that context. */
static void end(const void *array, CUcontext owner) {
    pthread_mutex_lock(&cuda_vmm_mutex);
    for (struct sparse **each = &arrays; *each;) {
        struct sparse *gone = *each;
        if (array ? gone->array != array : gone->owner != owner) {
            each = &gone->next;
            continue;
        }
        for (struct part **at = &parts; *at;)
            if (array_of(&(*at)->info) == gone->array)
                take_out(at);
            else
                at = &(*at)->next;
        *each = gone->next;
        free(gone);
    }
    pthread_mutex_unlock(&cuda_vmm_mutex);
}
void cuda_sparse_end(const void *array) { end(array, NULL); }
void cuda_sparse_context_end(CUcontext owner) { end(NULL, owner); }

static bool put_in(const CUarrayMapInfo *info) {
    struct part *made = malloc(sizeof *made);
    if (!made) return false;
    *made = (struct part){*info, cuda_physical_of(info->memHandle.memHandle), parts};
    made->physical->references++;
    parts = made;
    return true;
}

CUDA_API CUresult cuMemMapArrayAsync(CUarrayMapInfo *list, unsigned int count, CUstream stream) {
    (void)stream;
    CUDA_ENTER(list && count);
    for (unsigned int i = 0; i < count; i++)
        if (!array_of(&list[i]) ||
            (list[i].memOperationType == CU_MEM_OPERATION_TYPE_MAP && !list[i].memHandle.memHandle))
            return CUDA_ERROR_INVALID_VALUE;
    bool done = true;
    pthread_mutex_lock(&cuda_vmm_mutex);
    for (unsigned int i = 0; i < count && done; i++) {
        struct part **at = &parts;
        while (*at && !same_part(&(*at)->info, &list[i])) at = &(*at)->next;
        if (*at) take_out(at);
        if (list[i].memOperationType == CU_MEM_OPERATION_TYPE_MAP) done = put_in(&list[i]);
    }
    pthread_mutex_unlock(&cuda_vmm_mutex);
    return done ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUDA_API CUresult cuMemMapArrayAsync_ptsz(CUarrayMapInfo *list, unsigned int count, CUstream stream) {
    return cuMemMapArrayAsync(list, count, stream);
}
