/*
 * Stream-ordered memory. Before an allocation all that it could add to its pool is reserved in the share;
 * afterwards the rest goes back (pools.c).
 */
#include <pthread.h>

#include "allocation.h"
#include "hook_host.h"
#include "pools.h"

/* Allocation: which of the four entry points, and with what. */
typedef struct {
    int hook;
    CUdeviceptr *pointer;
    size_t size;
    CUmemoryPool pool;
    CUstream stream;
} asking;

static CUresult call(const asking *what) {
    switch (what->hook) {
    case HOOK_cuMemAllocAsync:
    case HOOK_cuMemAllocAsync_ptsz: {
        cuMemAllocAsync_type real = (cuMemAllocAsync_type)real_function(what->hook);
        return real ? real(what->pointer, what->size, what->stream) : CUDA_ERROR_NOT_FOUND;
    }
    default: {
        cuMemAllocFromPoolAsync_type real = (cuMemAllocFromPoolAsync_type)real_function(what->hook);
        return real ? real(what->pointer, what->size, what->pool, what->stream) : CUDA_ERROR_NOT_FOUND;
    }
    }
}

/* A stream in capture only notes the allocation: its memory is counted with the graph. */
static bool is_capturing(CUstream stream) {
    CUresult (*get)(CUstream, CUstreamCaptureStatus *) = driver_function("cuStreamIsCapturing");
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    return get && get(stream, &status) == CUDA_SUCCESS && status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* The pool has grown by more than could be foreseen, and beyond the share: not with us. */
static CUresult undo(const asking *what) {
    CUresult (*free_async)(CUdeviceptr, CUstream) = driver_function("cuMemFreeAsync");
    if (free_async && free_async(*what->pointer, what->stream) == CUDA_SUCCESS) wait_for(what->stream);
    pools_reclaim_locked();
    return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult allocate_locked(pool_account *self, const asking *what) {
    charged *own = &self->asked.own;
    uint64_t before = charge_bytes(&own->taken);
    bool reserved = pool_reserve(self, what->size);
    if (!reserved && !is_capturing(what->stream)) return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = call(what);
    if (result != CUDA_SUCCESS) budget_shrink(own->card, &own->taken, before);
    bool fits = pool_settle(self);
    return result == CUDA_SUCCESS && !fits ? undo(what) : result;
}

/* What is asked at every allocation is looked up once. */
static struct {
    CUresult (*device_of_context)(CUdevice *);
    CUresult (*device_of_stream)(CUstream, CUdevice *); /* CUDA 12.8 */
    CUresult (*context_of_stream)(CUstream, CUcontext *);
    CUresult (*current)(CUcontext *);
    CUresult (*push)(CUcontext);
    CUresult (*pop)(CUcontext *);
    CUresult (*pool_of_device)(CUmemoryPool *, CUdevice);
} driver;

static void look_up(void) {
    driver.device_of_context = driver_function("cuCtxGetDevice");
    driver.device_of_stream = driver_function("cuStreamGetDevice");
    driver.context_of_stream = driver_function("cuStreamGetCtx");
    driver.current = driver_function("cuCtxGetCurrent");
    driver.push = driver_function("cuCtxPushCurrent_v2");
    driver.pop = driver_function("cuCtxPopCurrent_v2");
    driver.pool_of_device = driver_function("cuDeviceGetMemPool");
}

/* A stream has its card by its context, which need not be the current one, nor need there be one. Only
 * default streams, which are constants, are the current context's. */
static bool device_of_stream(CUstream stream, CUdevice *device) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, look_up);
    bool by_current = (uintptr_t)stream <= (uintptr_t)CU_STREAM_PER_THREAD;
    if (!by_current && driver.device_of_stream && driver.device_of_stream(stream, device) == CUDA_SUCCESS)
        return true;
    CUcontext own, current;
    bool elsewhere = !by_current && driver.context_of_stream && driver.current && driver.push && driver.pop &&
                     driver.context_of_stream(stream, &own) == CUDA_SUCCESS &&
                     driver.current(&current) == CUDA_SUCCESS && own != current &&
                     driver.push(own) == CUDA_SUCCESS;
    bool found = driver.device_of_context && driver.device_of_context(device) == CUDA_SUCCESS;
    if (elsewhere) driver.pop(&own);
    return found;
}

static CUresult allocate(const asking *what) {
    CUdevice device;
    CUresult result;
    if (cards_are_free()) return call(what);
    pools_lock();
    pool_account *self = pool_account_of(what->pool);
    if (self && self->unplaced && device_of_stream(what->stream, &device)) pool_place(self, device);
    if (!self || self->asked.state == CARD_REFUSED)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    else if (self->leaving)
        result = CUDA_ERROR_INVALID_VALUE;
    else if (self->asked.state == CARD_FREE || !what->pointer || !what->size)
        result = call(what);
    else
        result = allocate_locked(self, what);
    pools_unlock();
    if (result == CUDA_ERROR_OUT_OF_MEMORY && what->pointer && !is_capturing(what->stream))
        result = host_serve(result, what->pointer, what->size);
    return result;
}

/* The current pool of the stream's card; NULL where the driver must say what is wrong. */
static CUmemoryPool current_pool(CUstream stream) {
    CUdevice device;
    CUmemoryPool pool = NULL;
    bool known = device_of_stream(stream, &device) && driver.pool_of_device &&
                 driver.pool_of_device(&pool, device) == CUDA_SUCCESS;
    return known ? pool : NULL;
}

static CUresult allocate_from_current(int hook, CUdeviceptr *pointer, size_t size, CUstream stream) {
    asking what = {hook, pointer, size, NULL, stream};
    if (!cards_are_free()) what.pool = current_pool(stream);
    return what.pool ? allocate(&what) : call(&what);
}

CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t size, CUstream stream) {
    return allocate_from_current(HOOK_cuMemAllocAsync, pointer, size, stream);
}

CUresult cuMemAllocAsync_ptsz(CUdeviceptr *pointer, size_t size, CUstream stream) {
    return allocate_from_current(HOOK_cuMemAllocAsync_ptsz, pointer, size, per_thread(stream));
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *pointer, size_t size, CUmemoryPool pool, CUstream stream) {
    return allocate(&(asking){HOOK_cuMemAllocFromPoolAsync, pointer, size, pool, stream});
}

CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *pointer, size_t size, CUmemoryPool pool, CUstream stream) {
    return allocate(&(asking){HOOK_cuMemAllocFromPoolAsync_ptsz, pointer, size, pool, per_thread(stream)});
}

/* Memory of cuMemAlloc may be freed so, too; what was served from the host, which is managed, may not. */
static CUresult free_async(cuMemFreeAsync_type real, CUdeviceptr pointer, CUstream stream) {
    if (!real) return CUDA_ERROR_NOT_FOUND;
    if (host_served(pointer)) {
        wait_for(stream);
        return cuMemFree_v2(pointer);
    }
    held_charge held = hold(CHARGE_POINTER, pointer);
    CUresult result = real(pointer, stream);
    if (result == CUDA_SUCCESS && held.found) wait_for(stream);
    if (result == CUDA_SUCCESS && !held.found) pools_freed();
    return let_go(result, &held, CHARGE_POINTER, pointer);
}

CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream) {
    return free_async(REAL(cuMemFreeAsync), pointer, stream);
}

CUresult cuMemFreeAsync_ptsz(CUdeviceptr pointer, CUstream stream) {
    return free_async((cuMemFreeAsync_type)REAL(cuMemFreeAsync_ptsz), pointer, per_thread(stream));
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *properties) {
    cuMemPoolCreate_type real = REAL(cuMemPoolCreate);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    if (properties && request_at(&properties->location).state == CARD_REFUSED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pools_lock();
    CUresult result = real(pool, properties);
    if (result == CUDA_SUCCESS) pool_created(*pool, properties);
    pools_unlock();
    return result;
}

/* Pools that the program did not create but asked for by their kind (CUDA 13). */
#define GET_POOL(symbol)                                                                                     \
    CUresult symbol(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type) {                 \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        pools_lock();                                                                                        \
        CUresult result = real(pool, location, type);                                                        \
        if (result == CUDA_SUCCESS) pool_told(*pool, type, location);                                        \
        pools_unlock();                                                                                      \
        return result;                                                                                       \
    }
GET_POOL(cuMemGetDefaultMemPool)
GET_POOL(cuMemGetMemPool)

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
    if (!REAL(cuMemPoolDestroy)) return CUDA_ERROR_NOT_FOUND;
    pools_lock();
    CUresult result = pool_destroy(pool);
    pools_unlock();
    return result;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep) {
    cuMemPoolTrimTo_type real = REAL(cuMemPoolTrimTo);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    pools_lock();
    CUresult result = real(pool, keep);
    pool_account *self = pool_account_of(pool);
    if (self) pool_settle(self);
    pools_unlock();
    return result;
}

/* Waiting for work is when the driver releases what pools do not use. */
#define WAIT(symbol, ...)                                                                                    \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        CUresult result = real(__VA_ARGS__);                                                                 \
        pools_settle();                                                                                      \
        return result;                                                                                       \
    } while (0)

CUresult cuStreamSynchronize(CUstream stream) { WAIT(cuStreamSynchronize, stream); }
CUresult cuStreamSynchronize_ptsz(CUstream stream) { WAIT(cuStreamSynchronize_ptsz, stream); }
CUresult cuEventSynchronize(CUevent event) { WAIT(cuEventSynchronize, event); }
CUresult cuCtxSynchronize(void) { WAIT(cuCtxSynchronize); }
CUresult cuCtxSynchronize_v2(CUcontext context) { WAIT(cuCtxSynchronize_v2, context); }
