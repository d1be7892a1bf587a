/* A pool holds reserved memory of the card, of which allocations use a part. */
#pragma once

#include "cuda_memory.h"

struct CUmemPoolHandle_st {
    CUdevice device;
    uint64_t reserved, used, reserved_high, used_high, threshold, limit;
    int handle_types; /* by which other processes may open it */
    bool destroyed;
    bool imported;     /* another process's: nothing is allocated from it here */
    CUmemoryPool next; /* list of all pools of the process */
};

CUmemoryPool cuda_pool_new(CUdevice device, uint64_t limit);
