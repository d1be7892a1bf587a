/* Physical memory, and what is mapped like it: multicast objects. */
#pragma once

#include "cuda_memory.h"

enum { CUDA_GRANULARITY = 2 << 20 };

/* Lives while a handle or a mapping of it does; counted under cuda_vmm_mutex. */
struct cuda_physical {
    CUmemAllocationProp prop;
    uint64_t size;
    int references;
    bool shared; /* with other processes, or bound: it ends with the hold on `piece` */
    bool multicast;
    struct sim_piece piece;
};
extern pthread_mutex_t cuda_vmm_mutex;

static inline struct cuda_physical *cuda_physical_of(CUmemGenericAllocationHandle handle) {
    return (struct cuda_physical *)(uintptr_t)handle;
}

/* With one reference; NULL when there is no host memory, and what it would hold is given back. */
struct cuda_physical *cuda_physical_new(struct cuda_physical what);

/* One reference less; under the mutex. */
void cuda_physical_drop(struct cuda_physical *self);

/* Makes it a piece that outlives this process's references where others hold it; under the mutex. */
bool cuda_physical_share(struct cuda_physical *self);

/* What is mapped at the address, and where in it that is; NULL: nothing. Under the mutex. */
struct cuda_physical *cuda_physical_at(CUdeviceptr address, uint64_t *offset);
