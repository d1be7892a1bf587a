/*
 * Memory of graphs is taken when one is first launched. The driver keeps it for the next one when an
 * executable graph is destroyed, until it is trimmed. What a graph allocates and does not free outlives it.
 */
#include "cuda_graph_memory.h"

#include <stdlib.h>
#include <string.h>

struct living {
    CUdeviceptr at;
    CUdevice device;
    uint64_t bytes;
    const struct cuda_graph_memory *of; /* NULL: it is destroyed */
    struct living *next;
};
static struct living *all;
static uint64_t outlived[SIM_MAX_GPUS]; /* bytes of those whose graph is destroyed */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static uint64_t in_use(CUdevice device) { return cuda.device[device].graph_used + outlived[device]; }

/* From each card, or from none. */
static CUresult take(struct cuda_graph_memory *self) {
    for (int i = 0; i < cuda.devices && !self->taken; i++) {
        struct cuda_device *d = &cuda.device[i];
        uint64_t wanted = in_use(i) + self->bytes[i];
        if (wanted > d->graph_reserved && cuda_take(i, wanted - d->graph_reserved) != CUDA_SUCCESS) {
            while (--i >= 0) cuda.device[i].graph_used -= self->bytes[i];
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        if (wanted > d->graph_reserved) d->graph_reserved = wanted;
        d->graph_used += self->bytes[i];
    }
    self->taken = true;
    return CUDA_SUCCESS;
}
CUresult cuda_graph_take(struct cuda_graph_memory *self) {
    pthread_mutex_lock(&mutex);
    CUresult result = take(self);
    pthread_mutex_unlock(&mutex);
    return result;
}

static struct living **find(CUdeviceptr at) {
    struct living **place = &all;
    while (*place && (*place)->at != at) place = &(*place)->next;
    return place;
}

void cuda_graph_lives(struct cuda_graph_memory *self, CUdevice device, CUdeviceptr at, uint64_t bytes) {
    pthread_mutex_lock(&mutex);
    struct living *added = *find(at) ? NULL : malloc(sizeof *added);
    if (added) {
        *added = (struct living){at, device, bytes, self, all};
        all = added;
    }
    pthread_mutex_unlock(&mutex);
}

bool cuda_graph_find(CUdeviceptr address, CUdeviceptr *start, size_t *size, CUdevice *device) {
    pthread_mutex_lock(&mutex);
    const struct living *each = all;
    while (each && address - each->at >= each->bytes) each = each->next;
    if (each) *start = each->at, *size = each->bytes, *device = each->device;
    pthread_mutex_unlock(&mutex);
    return each;
}

bool cuda_graph_free(CUdeviceptr at) {
    pthread_mutex_lock(&mutex);
    struct living **place = find(at), *gone = *place;
    if (gone) {
        *place = gone->next;
        if (!gone->of) outlived[gone->device] -= gone->bytes;
        free(gone);
    }
    pthread_mutex_unlock(&mutex);
    return gone;
}

void cuda_graph_end(struct cuda_graph_memory *self) {
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < cuda.devices && self->taken; i++) cuda.device[i].graph_used -= self->bytes[i];
    for (struct living *each = all; each; each = each->next)
        if (each->of == self) {
            each->of = NULL;
            outlived[each->device] += each->bytes;
        }
    pthread_mutex_unlock(&mutex);
}

CUDA_API CUresult cuDeviceGraphMemTrim(CUdevice device) {
    CUDA_ENTER(true);
    struct cuda_device *d = cuda_device(device);
    if (!d) return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&mutex);
    cuda_give(device, d->graph_reserved - in_use(device));
    d->graph_reserved = in_use(device);
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}

/* NVIDIA's documents leave open what is "associated with graphs" when a graph is destroyed and what it
 * allocated is not freed. HAMI_SIM_GRAPH_USED=unfreed: that is still in use. */
static uint64_t told_as_used(CUdevice device) {
    const char *used = getenv("HAMI_SIM_GRAPH_USED");
    return used && strcmp(used, "unfreed") == 0 ? in_use(device) : cuda.device[device].graph_used;
}
CUDA_API CUresult cuDeviceGetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attribute, void *value) {
    CUDA_ENTER(value);
    struct cuda_device *d = cuda_device(device);
    if (!d) return CUDA_ERROR_INVALID_DEVICE;
    *(uint64_t *)value =
        attribute >= CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT ? d->graph_reserved : told_as_used(device);
    return CUDA_SUCCESS;
}
