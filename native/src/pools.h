/* What pools hold of the card, which is more than what is allocated from them, and what it is charged to. */
#pragma once

#include "request.h"

/* One for each pool that was seen. */
typedef struct pool_account {
    CUmemoryPool pool;
    request asked; /* free of limits: memory of the host, or another process's */
    bool unplaced; /* managed memory that names no card: of the one that first asks for it */
    bool created;  /* by the program, which may destroy it */
    bool leaving;  /* destroyed by the program, while something of it was out */
    CUmemAllocationType type;
    CUmemLocation location;
    struct pool_account *next;
} pool_account;

/* What concerns an account is done between these two. */
void pools_lock(void);
void pools_unlock(void);

/* The account of a pool; NULL without host memory for one that was not known. */
pool_account *pool_account_of(CUmemoryPool pool);

/* A pool that the program has created, or was told of as the default one of its kind: it stays as it was when
 * it is known. */
void pool_created(CUmemoryPool pool, const CUmemPoolProps *properties);
void pool_told(CUmemoryPool pool, CUmemAllocationType type, const CUmemLocation *location);

/* An allocation of an unplaced pool is asked for on DEVICE. */
void pool_place(pool_account *self, CUdevice device);

/* Reserve all that an allocation of SIZE may add to the pool; false when that does not fit. */
bool pool_reserve(pool_account *self, uint64_t size);

/* Charge what the driver has reserved; false when that is more than was taken and does not fit. */
bool pool_settle(pool_account *self);

/* Destroy a pool by the driver's function: at once when nothing of it is out or about to be freed, or else
 * when that is so, since the driver tells what a pool holds only as long as it is there. */
CUresult pool_destroy(CUmemoryPool pool);

/* After memory was freed that may have been a pool's. */
void pools_freed(void);

/* Count each pool by the driver's word; cheap when nothing was freed since. */
void pools_settle(void);

/* Have the driver release what pools and graphs keep without using it; whether that was anything.
 * pools_reclaim_locked is for who has locked already. */
bool pools_reclaim(void);
bool pools_reclaim_locked(void);

/* In the child of a fork. */
void pools_forked(void);
