/* Stream-ordered allocation. */
#include <stdlib.h>

#include "cuda_pool.h"

static CUmemoryPool pools; /* guarded by mutex */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

CUmemoryPool cuda_pool_new(CUdevice device, uint64_t limit) {
    CUmemoryPool pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->device = device, pool->limit = limit;
    pthread_mutex_lock(&mutex);
    pool->next = pools, pools = pool;
    pthread_mutex_unlock(&mutex);
    return pool;
}

static CUmemoryPool default_pool(CUdevice device) {
    struct cuda_device *d = cuda_device(device);
    if (!d) return NULL;
    pthread_mutex_lock(&cuda.mutex);
    if (!d->default_pool) d->default_pool = cuda_pool_new(device, 0);
    if (!d->current_pool) d->current_pool = d->default_pool;
    pthread_mutex_unlock(&cuda.mutex);
    return d->default_pool;
}

static void shrink(CUmemoryPool pool, uint64_t keep) {
    if (keep < pool->used) keep = pool->used;
    if (keep >= pool->reserved) return;
    if (!pool->imported) cuda_give(pool->device, pool->reserved - keep);
    pool->reserved = keep;
}

void cuda_pools_shrink(CUdevice device) {
    pthread_mutex_lock(&mutex);
    for (CUmemoryPool p = pools; p; p = p->next)
        if (p->device == device) shrink(p, p->threshold);
    pthread_mutex_unlock(&mutex);
}

void cuda_pool_return(CUmemoryPool pool, uint64_t bytes) {
    pthread_mutex_lock(&mutex);
    pool->used -= bytes;
    if (pool->destroyed) shrink(pool, 0); /* nobody will use it again */
    pthread_mutex_unlock(&mutex);
}

/* Uses `bytes` of the pool, which grows when it has too few. */
static CUresult use(CUmemoryPool pool, uint64_t bytes) {
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&mutex);
    uint64_t wanted = pool->used + bytes;
    if (pool->limit && wanted > pool->limit) result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS && wanted > pool->reserved) {
        uint64_t more = cuda_rounded(wanted - pool->reserved);
        if (more < 2 * SIM_MIB) more = 2 * SIM_MIB;
        result = cuda_take(pool->device, more);
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
    if (!pointer || !size || !pool || pool->imported) return CUDA_ERROR_INVALID_VALUE;
    if (stream->capture) return cuda_capture_allocation(stream->capture, pool->device, size, pointer);
    CUresult result = use(pool, cuda_rounded(size));
    if (result != CUDA_SUCCESS) return result;
    result = cuda_memory_new(stream->context, size, CUDA_POOLED, pool, pointer);
    if (result != CUDA_SUCCESS) cuda_pool_return(pool, cuda_rounded(size));
    return result;
}
static CUresult on_cuMemAllocAsync(CUdeviceptr *pointer, size_t size, CUstream stream) {
    if (!default_pool(stream->context->device)) return CUDA_ERROR_OUT_OF_MEMORY;
    return on_cuMemAllocFromPoolAsync(pointer, size, cuda_device(stream->context->device)->current_pool,
                                      stream);
}

static void free_later(void *pointer, uint64_t time) {
    (void)time;
    cuda_memory_free((uintptr_t)pointer, ~0u & ~(1u << CUDA_HOST));
}
static CUresult on_cuMemFreeAsync(CUdeviceptr pointer, CUstream stream) {
    struct cuda_allocation a;
    if (stream->capture) return cuda_capture_free(stream->capture, pointer);
    if (!cuda_memory_find(pointer, &a) || a.start != pointer ||
        (a.kind != CUDA_POOLED && a.kind != CUDA_OF_POOL))
        return CUDA_ERROR_INVALID_VALUE;
    return cuda_submit(stream, 0, free_later, (void *)(uintptr_t)pointer);
}

CUDA_BOTH(cuMemAllocAsync, _ptsz, (CUdeviceptr * pointer, size_t size, CUstream stream), stream, pointer,
          size)
CUDA_BOTH(cuMemAllocFromPoolAsync, _ptsz,
          (CUdeviceptr * pointer, size_t size, CUmemoryPool pool, CUstream stream), stream, pointer, size,
          pool)
CUDA_BOTH(cuMemFreeAsync, _ptsz, (CUdeviceptr pointer, CUstream stream), stream, pointer)

CUDA_API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) {
    CUDA_ENTER(pool);
    *pool = default_pool(device);
    return *pool ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
CUDA_API CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device) {
    CUDA_ENTER(pool);
    if (!default_pool(device)) return CUDA_ERROR_INVALID_DEVICE;
    *pool = cuda_device(device)->current_pool;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
    CUDA_ENTER(pool);
    if (!default_pool(device)) return CUDA_ERROR_INVALID_DEVICE;
    cuda_device(device)->current_pool = pool;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props) {
    CUDA_ENTER(pool && props && props->location.type == CU_MEM_LOCATION_TYPE_DEVICE);
    if (!cuda_device(props->location.id)) return CUDA_ERROR_INVALID_DEVICE;
    *pool = cuda_pool_new(props->location.id, props->maxSize);
    if (!*pool) return CUDA_ERROR_OUT_OF_MEMORY;
    (*pool)->handle_types = (int)props->handleTypes;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuMemPoolDestroy(CUmemoryPool pool) {
    CUDA_ENTER(pool);
    struct cuda_device *d = cuda_device(pool->device);
    if (pool == d->default_pool) return CUDA_ERROR_INVALID_VALUE;
    struct sim_engine *engine = d->engine;
    sim_engine_wait(engine, sim_engine_last(engine));
    if (d->current_pool == pool) d->current_pool = d->default_pool;
    pthread_mutex_lock(&mutex); /* the handle stays, for allocations that are still out */
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
CUDA_API CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    CUDA_ENTER(pool && value);
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
