/* Which parts a card in MIG mode can be cut into, and which it is cut into now: the state file knows. */
#pragma once

#include "nvml_core.h"

#define NVML_MOST_INSTANCES SIM_PARTITIONS

struct nvml_profile {
    unsigned profile;       /* NVML_GPU_INSTANCE_PROFILE_* */
    unsigned id;            /* by which instances are made */
    unsigned compute, size; /* slices of compute, and of memory */
    unsigned starts[8], places;
};

/* An instance that was made while the node runs; `compute`: its compute instance is there as well. */
struct nvml_partition {
    const struct nvml_profile *profile;
    unsigned start, serial;
    bool compute;
};

/* The one in a slot of the card; false when the slot is empty. */
bool nvml_partition_at(const struct sim_gpu *gpu, int slot, struct nvml_partition *out);

/* "1g.6gb" */
void nvml_profile_name(const struct sim_gpu *gpu, const struct nvml_profile *profile, char out[24]);

/* Bytes of an instance of the profile. */
uint64_t nvml_profile_memory(const struct sim_gpu *gpu, const struct nvml_profile *profile);
