/*
 * A pool takes memory of the card when an allocation does not fit what it holds, and keeps it after frees, up
 * to its threshold, until somebody waits for work. So the pool is charged, not the allocation: by what the
 * driver says it has reserved.
 */
#include "pools.h"

#include <stdlib.h>

#include "failpoint.h"
#include "graph_memory.h"
#include "lock.h"

static pool_account *accounts;
static lock guard = NEW_LOCK;
static _Atomic bool may_shrink; /* something was freed, so waiting for work may release memory */
static _Atomic int leaving;     /* pools that are destroyed when nothing of them is out */

void pools_lock(void) { lock_take(&guard); }
void pools_unlock(void) { lock_release(&guard); }

/* After a kernel has failed, a driver may say nothing but that: then nothing is known to be unused. */
static const uint64_t UNKNOWN = UINT64_MAX;

static uint64_t attribute(CUmemoryPool pool, CUmemPool_attribute which) {
    static _Atomic(void *) found;
    CUresult (*get)(CUmemoryPool, CUmemPool_attribute, void *) =
        kept_function(&found, "cuMemPoolGetAttribute");
    uint64_t value = 0;
    return get && get(pool, which, &value) == CUDA_SUCCESS ? value : UNKNOWN;
}

/* --- which pools there are ------------------------------------------------------------------------------ */

static pool_account *known(CUmemoryPool pool) {
    pool_account *each = accounts;
    while (each && each->pool != pool) each = each->next;
    return each;
}

static pool_account *add(pool_account what) {
    pool_account *self = malloc(sizeof *self);
    if (!self) return NULL;
    *self = what;
    self->next = accounts;
    return accounts = self;
}

/*
 * Managed memory moves: the place that it prefers is where it begins, and one call brings it to a card. So it
 * is charged whatever it prefers, as cuMemAllocManaged is. Other memory of the host stays there.
 */
static pool_account account_for(CUmemoryPool pool, CUmemAllocationType type, const CUmemLocation *location) {
    pool_account self = {.pool = pool, .asked = request_at(location), .type = type, .location = *location};
    self.unplaced =
        type == CU_MEM_ALLOCATION_TYPE_MANAGED && self.asked.state == CARD_FREE && !WRONG(FREE_MANAGED_POOL);
    return self;
}

void pool_created(CUmemoryPool pool, const CUmemPoolProps *properties) {
    pool_account self = account_for(pool, properties->allocType, &properties->location);
    self.created = true;
    add(self);
}

void pool_told(CUmemoryPool pool, CUmemAllocationType type, const CUmemLocation *location) {
    if (!known(pool)) add(account_for(pool, type, location));
}

/* The card whose default pool this is; -1: of none. */
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

/* Of those that the program has neither created nor been told of by their kind, the default pools of cards
 * are ours to charge. What is left is another process's, from which nothing can be allocated here. */
pool_account *pool_account_of(CUmemoryPool pool) {
    pool_account *self = known(pool);
    if (self) return self;
    CUdevice device = device_of_default(pool);
    request asked = device >= 0 ? request_on(device) : (request){.state = CARD_FREE};
    return add((pool_account){.pool = pool, .asked = asked});
}

void pool_place(pool_account *self, CUdevice device) {
    self->asked = request_on(device);
    self->unplaced = false;
}

/* --- what they hold ------------------------------------------------------------------------------------- */

bool pool_settle(pool_account *self) {
    if (self->asked.state != CARD_LIMITED) return true;
    uint64_t reserved = attribute(self->pool, WRONG(REFUND_POOLED) ? CU_MEMPOOL_ATTR_USED_MEM_CURRENT
                                                                   : CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    uint64_t held = charge_bytes(&self->asked.own.taken);
    if (reserved == UNKNOWN) return true;
    if (reserved > held)
        return budget_extend(self->asked.own.card, &self->asked.own.taken, reserved - held) == 0;
    budget_shrink(self->asked.own.card, &self->asked.own.taken, reserved);
    return true;
}

/* Whether the driver may release more of it at the next wait. */
static bool keeps_unused(const pool_account *self) {
    if (self->asked.state != CARD_LIMITED) return false;
    uint64_t used = attribute(self->pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
    uint64_t threshold = attribute(self->pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD);
    return charge_bytes(&self->asked.own.taken) > (used > threshold ? used : threshold);
}

static void forget(pool_account **at) {
    pool_account *gone = *at;
    *at = gone->next;
    free(gone);
}

/* Destroy a pool that leaves, unless something of it is still out. */
static bool bury(pool_account **at) {
    CUresult (*trim)(CUmemoryPool, size_t) = driver_function("cuMemPoolTrimTo");
    CUresult (*destroy)(CUmemoryPool) = driver_function("cuMemPoolDestroy");
    pool_account *self = *at;
    trim(self->pool, 0);
    pool_settle(self);
    if (attribute(self->pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) > 0) return false;
    budget_shrink(self->asked.own.card, &self->asked.own.taken, 0);
    destroy(self->pool);
    leaving--;
    forget(at);
    return true;
}

void pools_settle(void) {
    if (!may_shrink) return;
    pools_lock();
    may_shrink = false;
    for (pool_account **at = &accounts; *at;) {
        if ((*at)->leaving && bury(at)) continue;
        pool_settle(*at);
        if ((*at)->leaving || keeps_unused(*at)) may_shrink = true;
        at = &(*at)->next;
    }
    pools_unlock();
}

bool pools_reclaim_locked(void) {
    CUresult (*trim)(CUmemoryPool, size_t) = driver_function("cuMemPoolTrimTo");
    bool any = graphs_trim();
    for (pool_account *each = accounts; each && trim; each = each->next) {
        if (each->asked.state != CARD_LIMITED) continue;
        uint64_t before = charge_bytes(&each->asked.own.taken);
        if (before == 0 || before <= attribute(each->pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT)) continue;
        trim(each->pool, 0);
        pool_settle(each);
        any = any || charge_bytes(&each->asked.own.taken) < before;
    }
    return any;
}

bool pools_reclaim(void) {
    pools_lock();
    bool any = pools_reclaim_locked();
    pools_unlock();
    return any;
}

/* What the allocation adds if the driver finds all that is unused in one piece. */
static uint64_t growth(const pool_account *self, uint64_t size) {
    uint64_t used = attribute(self->pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
    uint64_t reserved = attribute(self->pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    uint64_t free = reserved > used ? reserved - used : 0;
    return size > free ? in_pages(size - free) : 0;
}

bool pool_reserve(pool_account *self, uint64_t size) {
    uint64_t page = in_pages(UINT64_C(1) << 20);
    uint64_t most = size < page ? page : in_pages(size);
    if (budget_extend(self->asked.own.card, &self->asked.own.taken, most) == 0) return true;
    for (int attempt = 0; attempt < 2; attempt++) {
        uint64_t least = growth(self, in_pages(size));
        if (least == 0) return true;
        if (least < page) least = page;
        if (budget_extend(self->asked.own.card, &self->asked.own.taken, least) == 0) return true;
        if (!pools_reclaim_locked()) return false;
    }
    return false;
}

/* A pool that the program destroys is no longer a current one; before CUDA 13 only cards have such. */
static void give_up_place(pool_account *self) {
    CUresult (*get)(CUmemoryPool *, CUmemLocation *, CUmemAllocationType) =
        driver_function("cuMemGetMemPool");
    CUresult (*standard)(CUmemoryPool *, CUmemLocation *, CUmemAllocationType) =
        driver_function("cuMemGetDefaultMemPool");
    CUresult (*set)(CUmemLocation *, CUmemAllocationType, CUmemoryPool) = driver_function("cuMemSetMemPool");
    CUresult (*get_of_card)(CUmemoryPool *, CUdevice) = driver_function("cuDeviceGetMemPool");
    CUresult (*standard_of_card)(CUmemoryPool *, CUdevice) = driver_function("cuDeviceGetDefaultMemPool");
    CUresult (*set_of_card)(CUdevice, CUmemoryPool) = driver_function("cuDeviceSetMemPool");
    CUmemoryPool pool;
    if (get && standard && set) {
        if (get(&pool, &self->location, self->type) == CUDA_SUCCESS && pool == self->pool &&
            standard(&pool, &self->location, self->type) == CUDA_SUCCESS)
            set(&self->location, self->type, pool);
    } else if (get_of_card && standard_of_card && set_of_card) {
        CUdevice device = device_at(&self->location);
        if (get_of_card(&pool, device) == CUDA_SUCCESS && pool == self->pool &&
            standard_of_card(&pool, device) == CUDA_SUCCESS)
            set_of_card(device, pool);
    }
}

CUresult pool_destroy(CUmemoryPool pool) {
    CUresult (*destroy)(CUmemoryPool) = driver_function("cuMemPoolDestroy");
    CUresult (*set)(CUmemoryPool, CUmemPool_attribute, void *) = driver_function("cuMemPoolSetAttribute");
    uint64_t nothing = 0;
    pool_account **at = &accounts;
    while (*at && (*at)->pool != pool) at = &(*at)->next;
    pool_account *self = *at;
    if (self && self->leaving) return CUDA_ERROR_INVALID_VALUE;
    if (!self || !self->created || self->asked.state != CARD_LIMITED) {
        CUresult result = destroy(pool);
        if (result == CUDA_SUCCESS && self) forget(at);
        return result;
    }
    set(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &nothing);
    give_up_place(self);
    self->leaving = true;
    leaving++;
    if (!bury(at)) may_shrink = true;
    return CUDA_SUCCESS;
}

void pools_freed(void) {
    may_shrink = true;
    if (leaving) pools_settle();
}

void pools_forked(void) {
    lock_reset(&guard);
    accounts = NULL; /* CUDA does not work in the child of a process that used it */
    may_shrink = false;
    leaving = 0;
}
