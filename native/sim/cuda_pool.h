/* A pool holds reserved memory, of which allocations use a part. */
#pragma once

#include "cuda_memory.h"

struct CUmemPoolHandle_st {
    CUmemAllocationType type;
    CUmemLocation location;
    CUdevice device; /* whose memory it takes; -1: none, it is the host's or nothing was allocated yet */
    uint64_t reserved, used, reserved_high, used_high, threshold, limit;
    int handle_types; /* by which other processes may open it */
    bool destroyed;
    CUmemoryPool current; /* of a default pool: what is used in its place; NULL: it is none */
    bool imported;        /* another process's: nothing is allocated from it here */
    CUmemoryPool next;    /* list of all pools of the process */
};

/* Gives an allocation's bytes back to its pool; returns unused reserved memory to the card. */
void cuda_pool_return(CUmemoryPool pool, uint64_t bytes);
void cuda_pools_shrink(CUdevice device);

CUmemoryPool cuda_pool_new(CUmemAllocationType type, CUmemLocation location, uint64_t limit);
