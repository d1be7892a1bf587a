/* Allocations of this process. A device pointer is the address of host memory that stands for the card's. */
#pragma once

#include "cuda_core.h"

/* IMPORTED by IPC, OF_POOL from another process's pool. MANAGED lies on the card; ON_HOST is managed memory
 * that lies on the host. It moves by prefetches only, and that of a pool not at all.
 */
enum cuda_kind {
    CUDA_DEVICE,
    CUDA_MANAGED,
    CUDA_POOLED,
    CUDA_HOST,
    CUDA_ON_HOST,
    CUDA_IMPORTED,
    CUDA_OF_POOL
};

struct cuda_allocation {
    CUdeviceptr start;
    size_t size;
    uint64_t charged; /* bytes of the card that it takes; 0 for host memory and pooled memory */
    enum cuda_kind kind;
    CUcontext context; /* that it ends with; NULL: it is a pool's, which belongs to no context */
    CUmemoryPool pool;
    bool shared; /* other processes may hold it too, or made it: it ends with the hold on `piece` */
    struct sim_piece piece;
};

/* What the card gives for a request: 512-byte steps, from 1 MiB on pages of 2 MiB. */
uint64_t cuda_rounded(uint64_t bytes);

/* Reserves, backs and records an allocation. */
CUresult cuda_memory_new(CUcontext context, size_t size, enum cuda_kind kind, CUmemoryPool pool,
                         CUdeviceptr *out);

/* Copies what is known of the allocation that contains `address`; false when none does. */
bool cuda_memory_find(CUdeviceptr address, struct cuda_allocation *out);

/* Makes the allocation around `address` one that other processes can hold; what it is then, in *out. */
CUresult cuda_memory_share(CUdeviceptr address, struct cuda_allocation *out);

/* Records memory of another process, of which this one has a hold; NULL: that one's pool has it alone. */
CUresult cuda_memory_import(CUcontext context, const struct sim_piece *piece, uint64_t size,
                            CUdeviceptr *out);

/* Managed memory goes to its card, where there is room, or to the host; whether it is managed. */
bool cuda_memory_bring(CUdeviceptr address, bool to_card);

/* Frees the allocation that begins at `start` and is of one of `kinds` (bits), else INVALID_VALUE. */
CUresult cuda_memory_free(CUdeviceptr start, unsigned kinds);
void cuda_memory_free_all(CUcontext context);

/* A descriptor that tells which pool it stands for; -1 when there is none to be had. */
int cuda_descriptor_of(const void *object, size_t size);
bool cuda_descriptor_tells(intptr_t descriptor, void *object, size_t size);
