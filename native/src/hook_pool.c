/*
 * Stream-ordered memory. A pool takes memory of the card when an allocation does not fit what it holds, and
 * keeps it after frees, up to its threshold, until somebody waits for work. So the pool is charged, not the
 * allocation: by what the driver says it has reserved. Before an allocation all that it could add is reserved
 * in the share; afterwards the rest goes back.
 */
#include "hook_pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "failpoint.h"
#include "hook_graph.h"
#include "hook_host.h"
#include "hook_memory.h"

typedef struct account {
    CUmemoryPool pool;
    request asked; /* free of limits: memory of the host, or another process's */
    bool created;  /* by the program, which may destroy it */
    struct account *next;
} account;

static account *accounts;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool may_shrink; /* something was freed, so waiting for work may release memory */

static uint64_t attribute(CUmemoryPool pool, CUmemPool_attribute which) {
    static CUresult (*get)(CUmemoryPool, CUmemPool_attribute, void *);
    uint64_t value = 0;
    if (!get) get = driver_function("cuMemPoolGetAttribute");
    return get && get(pool, which, &value) == CUDA_SUCCESS ? value : 0;
}

/* The card whose default pool this is; -1: none, so it was created elsewhere or is not on a card. */
static CUdevice device_of_default(CUmemoryPool pool) {
    CUresult (*get_count)(int *) = driver_function("cuDeviceGetCount");
    CUresult (*get_default)(CUmemoryPool *, CUdevice) = driver_function("cuDeviceGetDefaultMemPool");
    int count = 0;
    CUmemoryPool each;
    if (!get_count || !get_default || get_count(&count) != CUDA_SUCCESS) return -1;
    for (CUdevice device = 0; device < count; device++)
        if (get_default(&each, device) == CUDA_SUCCESS && each == pool) return device;
    return -1;
}

static account *add(CUmemoryPool pool, request asked, bool created) {
    account *self = malloc(sizeof *self);
    if (!self) return NULL;
    *self = (account){pool, asked, created, accounts};
    return accounts = self;
}

static account *account_of(CUmemoryPool pool) {
    for (account *each = accounts; each; each = each->next)
        if (each->pool == pool) return each;
    CUdevice device = device_of_default(pool);
    return add(pool, device >= 0 ? request_on(device) : (request){.state = CARD_FREE}, false);
}

/* Charge what the driver has reserved; false when that is more than was taken and does not fit. */
static bool settle_account(account *self) {
    if (self->asked.state != CARD_LIMITED) return true;
    uint64_t reserved = attribute(self->pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    uint64_t held = charge_bytes(&self->asked.own.taken);
    if (reserved > held)
        return budget_extend(self->asked.own.card, &self->asked.own.taken, reserved - held) == 0;
    budget_shrink(self->asked.own.card, &self->asked.own.taken, reserved);
    return true;
}

/* Whether the driver may release more of it at the next wait. */
static bool keeps_unused(const account *self) {
    if (self->asked.state != CARD_LIMITED) return false;
    uint64_t used = attribute(self->pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
    uint64_t threshold = attribute(self->pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD);
    return charge_bytes(&self->asked.own.taken) > (used > threshold ? used : threshold);
}

void pools_settle(void) {
    if (!may_shrink) return;
    pthread_mutex_lock(&mutex);
    may_shrink = false;
    for (account *each = accounts; each; each = each->next) {
        settle_account(each);
        if (keeps_unused(each)) may_shrink = true;
    }
    pthread_mutex_unlock(&mutex);
}

static bool reclaim(void) {
    CUresult (*trim)(CUmemoryPool, size_t) = driver_function("cuMemPoolTrimTo");
    bool any = graphs_trim();
    for (account *each = accounts; each && trim; each = each->next) {
        if (each->asked.state != CARD_LIMITED) continue;
        uint64_t before = charge_bytes(&each->asked.own.taken);
        if (before == 0 || before <= attribute(each->pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT)) continue;
        trim(each->pool, 0);
        settle_account(each);
        any = any || charge_bytes(&each->asked.own.taken) < before;
    }
    return any;
}

bool pools_reclaim(void) {
    pthread_mutex_lock(&mutex);
    bool any = reclaim();
    pthread_mutex_unlock(&mutex);
    return any;
}

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

/* What the allocation adds if the driver finds all that is unused in one piece. */
static uint64_t growth(const account *self, uint64_t size) {
    uint64_t used = attribute(self->pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
    uint64_t reserved = attribute(self->pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    uint64_t free = reserved > used ? reserved - used : 0;
    return size > free ? in_pages(size - free) : 0;
}

/* All that the allocation may add to the pool; at least a page. */
static bool reserve_for(account *self, uint64_t size) {
    uint64_t most = size < in_pages(UINT64_C(1) << 20) ? in_pages(UINT64_C(1) << 20) : in_pages(size);
    if (budget_extend(self->asked.own.card, &self->asked.own.taken, most) == 0) return true;
    for (int attempt = 0; attempt < 2; attempt++) {
        uint64_t least = growth(self, in_pages(size));
        if (least == 0) return true;
        if (least < in_pages(UINT64_C(1) << 20)) least = in_pages(UINT64_C(1) << 20);
        if (budget_extend(self->asked.own.card, &self->asked.own.taken, least) == 0) return true;
        if (!reclaim()) return false;
    }
    return false;
}

/* The pool has grown by more than could be foreseen, and beyond the share: not with us. */
static CUresult undo(const asking *what) {
    CUresult (*free_async)(CUdeviceptr, CUstream) = driver_function("cuMemFreeAsync");
    CUresult (*wait)(CUstream) = driver_function("cuStreamSynchronize");
    if (free_async && wait && free_async(*what->pointer, what->stream) == CUDA_SUCCESS) wait(what->stream);
    reclaim();
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* The size of one allocation, which is charged with the pool. */
static void note(const account *self, const asking *what, uint64_t owner) {
    charged noted = {self->asked.own.card, owner, {{in_pages(what->size)}}};
    charges_put(CHARGE_POOLED, *what->pointer, &noted);
}

static CUresult allocate_locked(account *self, const asking *what) {
    bool reserved = reserve_for(self, what->size);
    if (!reserved && !is_capturing(what->stream)) return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = call(what);
    bool fits = settle_account(self);
    if (result != CUDA_SUCCESS) return result;
    if (!fits) return undo(what);
    if (self->created) /* so that what is out when the pool is destroyed can be counted on its own */
        note(self, what, (uint64_t)self);
    else if (WRONG(REFUND_POOLED))
        note(self, what, 0);
    return result;
}

static CUresult allocate(const asking *what) {
    pthread_mutex_lock(&mutex);
    account *self = account_of(what->pool);
    CUresult result;
    if (!self || self->asked.state == CARD_REFUSED)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    else if (self->asked.state == CARD_FREE || !what->pointer || !what->size)
        result = call(what);
    else
        result = allocate_locked(self, what);
    pthread_mutex_unlock(&mutex);
    if (result == CUDA_ERROR_OUT_OF_MEMORY && what->pointer && !is_capturing(what->stream))
        result = host_serve(result, what->pointer, what->size);
    return result;
}

/* The current pool of the stream's card; NULL where the driver must say what is wrong. */
static CUmemoryPool current_pool(CUstream stream) {
    CUresult (*of_stream)(CUstream, CUdevice *) = driver_function("cuStreamGetDevice"); /* CUDA 12.8 */
    CUresult (*of_context)(CUdevice *) = driver_function("cuCtxGetDevice");
    CUresult (*get)(CUmemoryPool *, CUdevice) = driver_function("cuDeviceGetMemPool");
    CUdevice device;
    CUmemoryPool pool = NULL;
    bool known = of_stream && stream && of_stream(stream, &device) == CUDA_SUCCESS;
    if (!known) known = of_context && of_context(&device) == CUDA_SUCCESS;
    return known && get && get(&pool, device) == CUDA_SUCCESS ? pool : NULL;
}

static CUresult allocate_from_current(int hook, CUdeviceptr *pointer, size_t size, CUstream stream) {
    asking what = {hook, pointer, size, NULL, stream};
    budget *card;
    if (card_of_context(&card) == CARD_FREE) return call(&what);
    what.pool = current_pool(stream);
    return what.pool ? allocate(&what) : call(&what);
}

CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t size, CUstream stream) {
    return allocate_from_current(HOOK_cuMemAllocAsync, pointer, size, stream);
}

CUresult cuMemAllocAsync_ptsz(CUdeviceptr *pointer, size_t size, CUstream stream) {
    return allocate_from_current(HOOK_cuMemAllocAsync_ptsz, pointer, size, stream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *pointer, size_t size, CUmemoryPool pool, CUstream stream) {
    return allocate(&(asking){HOOK_cuMemAllocFromPoolAsync, pointer, size, pool, stream});
}

CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *pointer, size_t size, CUmemoryPool pool, CUstream stream) {
    return allocate(&(asking){HOOK_cuMemAllocFromPoolAsync_ptsz, pointer, size, pool, stream});
}

void pools_freed(CUdeviceptr pointer) {
    held_charge held = hold(CHARGE_POOLED, pointer);
    if (WRONG(REFUND_POOLED) && held.found) budget_refund(held.what.card, &held.what.taken);
    may_shrink = true;
}

static CUresult free_async(int hook, CUdeviceptr pointer, CUstream stream) {
    cuMemFreeAsync_type real = (cuMemFreeAsync_type)real_function(hook);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    if (host_served(pointer)) { /* managed memory, which only the plain call frees, once nobody works on it */
        CUresult (*wait)(CUstream) = driver_function("cuStreamSynchronize");
        if (wait) wait(stream);
        return cuMemFree_v2(pointer);
    }
    held_charge held = hold(CHARGE_POINTER, pointer); /* out when its pool was destroyed */
    CUresult result = let_go(real(pointer, stream), &held, CHARGE_POINTER, pointer);
    if (result == CUDA_SUCCESS) pools_freed(pointer);
    return result;
}

CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream) {
    return free_async(HOOK_cuMemFreeAsync, pointer, stream);
}

CUresult cuMemFreeAsync_ptsz(CUdeviceptr pointer, CUstream stream) {
    return free_async(HOOK_cuMemFreeAsync_ptsz, pointer, stream);
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *properties) {
    cuMemPoolCreate_type real = REAL(cuMemPoolCreate);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    request asked = request_at(properties ? &properties->location : NULL);
    if (asked.state == CARD_REFUSED) return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&mutex);
    CUresult result = real(pool, properties);
    if (result == CUDA_SUCCESS) add(*pool, asked, true);
    pthread_mutex_unlock(&mutex);
    return result;
}

/* What is still out lives on without its pool, and from then on is charged on its own. */
static void part_with_pool(account *self) {
    charged *pool = &self->asked.own, out;
    uint64_t pointer;
    while (charges_take_owned((uint64_t)self, &pointer, &out)) {
        charged alone = {pool->card, 0, charge_split(&pool->taken, charge_bytes(&out.taken))};
        charges_put(CHARGE_POINTER, pointer, &alone);
    }
    budget_shrink(pool->card, &pool->taken, 0);
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
    cuMemPoolDestroy_type real = REAL(cuMemPoolDestroy);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    pthread_mutex_lock(&mutex);
    account **at = &accounts;
    while (*at && (*at)->pool != pool) at = &(*at)->next;
    CUresult result = real(pool);
    account *gone = *at;
    if (result == CUDA_SUCCESS && gone) {
        if (gone->asked.state == CARD_LIMITED) part_with_pool(gone);
        *at = gone->next;
        free(gone);
    }
    pthread_mutex_unlock(&mutex);
    return result;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep) {
    cuMemPoolTrimTo_type real = REAL(cuMemPoolTrimTo);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    pthread_mutex_lock(&mutex);
    CUresult result = real(pool, keep);
    for (account *each = accounts; each; each = each->next)
        if (each->pool == pool) settle_account(each);
    pthread_mutex_unlock(&mutex);
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

void pools_forked(void) {
    pthread_mutex_init(&mutex, NULL);
    accounts = NULL; /* CUDA does not work in the child of a process that used it */
    may_shrink = false;
}
