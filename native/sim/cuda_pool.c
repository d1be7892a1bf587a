/* Stream-ordered allocation. */
#include <stdlib.h>

#include "cuda_graph_memory.h"
#include "cuda_pool.h"

static CUmemoryPool pools; /* guarded by mutex */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static CUmemoryPool add(CUmemAllocationType type, CUmemLocation location) {
    CUmemoryPool pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->type = type, pool->location = location;
    pool->device = location.type == CU_MEM_LOCATION_TYPE_DEVICE ? location.id : -1;
    pool->next = pools;
    return pools = pool;
}

CUmemoryPool cuda_pool_new(CUmemAllocationType type, CUmemLocation location, uint64_t limit) {
    pthread_mutex_lock(&mutex);
    CUmemoryPool pool = add(type, location);
    if (pool) pool->limit = limit;
    pthread_mutex_unlock(&mutex);
    return pool;
}

/* Only managed memory may prefer no place. */
static bool exists(CUmemAllocationType type, CUmemLocation location) {
    bool managed = type == CU_MEM_ALLOCATION_TYPE_MANAGED;
    if (type != CU_MEM_ALLOCATION_TYPE_PINNED && !managed) return false;
    switch (location.type) {
    case CU_MEM_LOCATION_TYPE_NONE:
        return managed;
    case CU_MEM_LOCATION_TYPE_DEVICE:
        return cuda_device(location.id);
    case CU_MEM_LOCATION_TYPE_HOST:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
        return true;
    default:
        return false;
    }
}

static bool is_of(CUmemoryPool pool, CUmemAllocationType type, CUmemLocation location) {
    bool numbered =
        location.type == CU_MEM_LOCATION_TYPE_DEVICE || location.type == CU_MEM_LOCATION_TYPE_HOST_NUMA;
    return pool->type == type && pool->location.type == location.type &&
           (!numbered || pool->location.id == location.id);
}

/* The one that is there without being created; NULL where there is none. */
static CUmemoryPool default_pool(CUmemAllocationType type, CUmemLocation location) {
    if (!exists(type, location)) return NULL;
    pthread_mutex_lock(&mutex);
    CUmemoryPool pool = pools;
    while (pool && !(pool->current && is_of(pool, type, location))) pool = pool->next;
    if (!pool && (pool = add(type, location))) pool->current = pool;
    pthread_mutex_unlock(&mutex);
    return pool;
}

static CUmemoryPool default_pool_of(CUdevice device) {
    return default_pool(CU_MEM_ALLOCATION_TYPE_PINNED, (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, device});
}

static void shrink(CUmemoryPool pool, uint64_t keep) {
    if (keep < pool->used) keep = pool->used;
    if (keep >= pool->reserved) return;
    if (!pool->imported && pool->device >= 0) cuda_give(pool->device, pool->reserved - keep);
    pool->reserved = keep;
}

void cuda_pools_shrink(CUdevice device) {
    pthread_mutex_lock(&mutex);
    for (CUmemoryPool p = pools; p; p = p->next)
        if (p->device == device || p->device < 0) shrink(p, p->threshold);
    pthread_mutex_unlock(&mutex);
}

void cuda_pool_return(CUmemoryPool pool, uint64_t bytes) {
    pthread_mutex_lock(&mutex);
    pool->used -= bytes;
    if (pool->destroyed) shrink(pool, 0); /* nobody will use it again */
    pthread_mutex_unlock(&mutex);
}

/* Uses `bytes` of the pool, which grows when it has too few. Managed memory lies where it prefers to be; that
 * which prefers no place lies on the card that first allocated from its pool. */
static CUresult use(CUmemoryPool pool, CUdevice device, uint64_t bytes) {
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&mutex);
    if (pool->location.type == CU_MEM_LOCATION_TYPE_NONE && pool->device < 0) pool->device = device;
    uint64_t wanted = pool->used + bytes;
    if (pool->limit && wanted > pool->limit) result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS && wanted > pool->reserved) {
        uint64_t more = cuda_rounded(wanted - pool->reserved);
        if (more < 2 * SIM_MIB) more = 2 * SIM_MIB;
        if (pool->device >= 0) result = cuda_take(pool->device, more);
        if (result == CUDA_SUCCESS) pool->reserved += more;
    }
    if (result == CUDA_SUCCESS) {
        pool->used = wanted;
        if (pool->used > pool->used_high) pool->used_high = pool->used;
        if (pool->reserved > pool->reserved_high) pool->reserved_high = pool->reserved;
    }
    pthread_mutex_unlock(&mutex);
    return result;
}

static CUresult on_cuMemAllocFromPoolAsync(CUdeviceptr *pointer, size_t size, CUmemoryPool pool,
                                           CUstream stream) {
    if (!pointer || !size || !pool || pool->imported || pool->destroyed) return CUDA_ERROR_INVALID_VALUE;
    if (stream->capture && pool->type == CU_MEM_ALLOCATION_TYPE_PINNED && pool->device >= 0)
        return cuda_capture_allocation(stream->capture, pool->device, size, pointer);
    if (stream->capture) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    CUresult result = use(pool, stream->context->device, cuda_rounded(size));
    if (result != CUDA_SUCCESS) return result;
    result = cuda_memory_new(stream->context, size, CUDA_POOLED, pool, pointer);
    if (result != CUDA_SUCCESS) cuda_pool_return(pool, cuda_rounded(size));
    return result;
}
static CUresult on_cuMemAllocAsync(CUdeviceptr *pointer, size_t size, CUstream stream) {
    CUmemoryPool standard = default_pool_of(stream->context->device);
    if (!standard) return CUDA_ERROR_OUT_OF_MEMORY;
    return on_cuMemAllocFromPoolAsync(pointer, size, standard->current, stream);
}

static void free_later(void *pointer, uint64_t time) {
    (void)time;
    cuda_memory_free((uintptr_t)pointer, ~0u & ~(1u << CUDA_HOST));
}
static CUresult on_cuMemFreeAsync(CUdeviceptr pointer, CUstream stream) {
    struct cuda_allocation a;
    bool known = cuda_memory_find(pointer, &a); /* what a graph allocates is not */
    if (stream->capture)
        return known ? CUDA_ERROR_INVALID_VALUE : cuda_capture_free(stream->capture, pointer);
    if (!known && cuda_graph_free(pointer)) return CUDA_SUCCESS;
    if (!known || a.start != pointer ||
        (a.kind != CUDA_POOLED && a.kind != CUDA_OF_POOL && a.kind != CUDA_DEVICE))
        return CUDA_ERROR_INVALID_VALUE;
    return cuda_submit(stream, (struct sim_work){.done = free_later, .argument = (void *)(uintptr_t)pointer});
}

CUDA_BOTH(cuMemAllocAsync, _ptsz, (CUdeviceptr * pointer, size_t size, CUstream stream), stream, pointer,
          size)
CUDA_BOTH(cuMemAllocFromPoolAsync, _ptsz,
          (CUdeviceptr * pointer, size_t size, CUmemoryPool pool, CUstream stream), stream, pointer, size,
          pool)
CUDA_BOTH(cuMemFreeAsync, _ptsz, (CUdeviceptr pointer, CUstream stream), stream, pointer)

CUDA_API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) {
    CUDA_ENTER(pool);
    *pool = default_pool_of(device);
    return *pool ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
CUDA_API CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device) {
    CUDA_ENTER(pool);
    CUmemoryPool standard = default_pool_of(device);
    if (!standard) return CUDA_ERROR_INVALID_DEVICE;
    *pool = standard->current;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
    CUDA_ENTER(pool);
    CUmemoryPool standard = default_pool_of(device);
    if (!standard) return CUDA_ERROR_INVALID_DEVICE;
    if (pool->imported || !is_of(pool, standard->type, standard->location)) return CUDA_ERROR_INVALID_VALUE;
    standard->current = pool;
    return CUDA_SUCCESS;
}

/* The same for pools of any kind. */
CUDA_API CUresult cuMemGetDefaultMemPool(CUmemoryPool *pool, CUmemLocation *location,
                                         CUmemAllocationType type) {
    CUDA_ENTER(pool && location && exists(type, *location));
    *pool = default_pool(type, *location);
    return *pool ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUDA_API CUresult cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type) {
    CUresult result = cuMemGetDefaultMemPool(pool, location, type);
    if (result == CUDA_SUCCESS) *pool = (*pool)->current;
    return result;
}
CUDA_API CUresult cuMemSetMemPool(CUmemLocation *location, CUmemAllocationType type, CUmemoryPool pool) {
    CUmemoryPool standard;
    CUDA_ENTER(pool && location && !pool->imported && is_of(pool, type, *location));
    CUresult result = cuMemGetDefaultMemPool(&standard, location, type);
    if (result == CUDA_SUCCESS) standard->current = pool;
    return result;
}

CUDA_API CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props) {
    CUDA_ENTER(pool && props);
    if (!exists(props->allocType, props->location))
        return props->location.type == CU_MEM_LOCATION_TYPE_DEVICE ? CUDA_ERROR_INVALID_DEVICE
                                                                   : CUDA_ERROR_INVALID_VALUE;
    bool managed = props->allocType == CU_MEM_ALLOCATION_TYPE_MANAGED; /* without a limit, of one process */
    if (managed && (props->maxSize || props->handleTypes)) return CUDA_ERROR_INVALID_VALUE;
    *pool = cuda_pool_new(props->allocType, props->location, props->maxSize);
    if (!*pool) return CUDA_ERROR_OUT_OF_MEMORY;
    (*pool)->handle_types = (int)props->handleTypes;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemPoolDestroy(CUmemoryPool pool) {
    CUDA_ENTER(pool && !pool->current && !pool->destroyed);
    pthread_mutex_lock(&mutex); /* the handle stays, for allocations that are still out */
    for (CUmemoryPool each = pools; each; each = each->next)
        if (each->current == pool) each->current = each;
    pool->threshold = 0;
    pool->destroyed = true;
    shrink(pool, 0);
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep) {
    CUDA_ENTER(pool);
    pthread_mutex_lock(&mutex);
    shrink(pool, keep);
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count) {
    (void)map, (void)count;
    CUDA_ENTER(pool);
    return CUDA_SUCCESS;
}

/* The member behind an attribute with a 64-bit value; NULL for the boolean ones. */
static uint64_t *counter(CUmemoryPool pool, CUmemPool_attribute attribute) {
    switch (attribute) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        return &pool->threshold;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
        return &pool->reserved;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
        return &pool->reserved_high;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
        return &pool->used;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        return &pool->used_high;
    default:
        return NULL;
    }
}
/* A driver may tell of an earlier fault at any call: in the primary context, where programs use pools. */
static CUresult fault_of(CUmemoryPool pool) {
    CUcontext primary = pool->device >= 0 ? cuda.device[pool->device].primary : NULL;
    return primary ? cuda_fault(primary) : CUDA_SUCCESS;
}
CUDA_API CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    CUDA_ENTER(pool && value);
    if (fault_of(pool) != CUDA_SUCCESS) return fault_of(pool);
    pthread_mutex_lock(&mutex);
    const uint64_t *place = counter(pool, attribute);
    if (place)
        *(uint64_t *)value = *place;
    else
        *(int *)value = 1;
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    CUDA_ENTER(pool && value && attribute != CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT &&
               attribute != CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
    pthread_mutex_lock(&mutex);
    uint64_t *place = counter(pool, attribute);
    if (place)
        *place = attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ? *(uint64_t *)value
                 : attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH
                     ? pool->reserved
                     : pool->used; /* a high mark can only be reset */
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}
