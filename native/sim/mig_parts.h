/*
 * What a card in MIG mode is cut into: by the file, once and for all, or (`migDevices: none`) at run time, in
 * the state that processes share.
 */
#pragma once

#include "node.h"

#define MIG_MOST_PARTS SIM_PARTITIONS

struct mig_profile {
    unsigned profile;       /* NVML_GPU_INSTANCE_PROFILE_* */
    unsigned id;            /* by which instances are made */
    unsigned compute, size; /* slices of compute, and of memory */
    unsigned starts[8], places;
};

/* A GPU instance; `compute`: its compute instance, of its whole size, is there as well. */
struct mig_part {
    const struct mig_profile *profile;
    unsigned start, serial;
    bool compute;
};

/* The profile with that number, or id; NULL when the card has none such. */
const struct mig_profile *mig_profile_of(const struct sim_gpu *gpu, unsigned number, bool by_id);

/* "1g.6gb" */
void mig_profile_name(const struct sim_gpu *gpu, const struct mig_profile *profile, char out[24]);

/* Bytes of an instance of the profile. */
uint64_t mig_profile_memory(const struct sim_gpu *gpu, const struct mig_profile *profile);

/* Slices of compute that the card has. */
unsigned mig_slices(const struct sim_gpu *gpu);

/* Whether the file says what the card is cut into. */
bool mig_is_fixed(const struct sim_gpu *gpu);

/* The one in a slot of the card; false when the slot is empty. */
bool mig_part_at(const struct sim_gpu *gpu, int slot, struct mig_part *out);

/* The slot of a new one at START; -1: no room. */
int mig_make(const struct sim_gpu *gpu, const struct mig_profile *profile, unsigned start);
void mig_unmake(const struct sim_gpu *gpu, int slot);
void mig_set_compute(const struct sim_gpu *gpu, int slot, bool there);
