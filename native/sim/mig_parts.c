/* Profiles and places are those of an A30 for cards up to 24 GiB, of an A100 for larger ones. */
#include "mig_parts.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static const struct mig_profile small[] = {
    {0, 14, 1, 1, {0, 1, 2, 3}, 4},
    {1, 5, 2, 2, {0, 2}, 2},
    {3, 0, 4, 4, {0}, 1},
};
static const struct mig_profile large[] = {
    {0, 19, 1, 1, {0, 1, 2, 3, 4, 5, 6}, 7},
    {1, 14, 2, 2, {0, 2, 4}, 3},
    {2, 9, 3, 4, {0, 4}, 2},
    {3, 5, 4, 4, {0}, 1},
    {4, 0, 7, 8, {0}, 1},
};
#define COUNT(table) (sizeof(table) / sizeof *(table))

/* An entry of the state file: used, compute instance, profile id, start, serial. */
#define USED            1u
#define COMPUTE         2u
#define ID(entry)       (((entry) >> 8) & 255)
#define START(entry)    (((entry) >> 16) & 255)
#define SERIAL(entry)   ((entry) >> 24)
#define ENTRY(id, s, n) (USED | (id) << 8 | (s) << 16 | (n) << 24)

static bool is_small(const struct sim_gpu *gpu) { return gpu->memory <= 24 * (SIM_MIB << 10); }

static const struct mig_profile *profiles(const struct sim_gpu *gpu, size_t *count) {
    *count = is_small(gpu) ? COUNT(small) : COUNT(large);
    return is_small(gpu) ? small : large;
}

const struct mig_profile *mig_profile_of(const struct sim_gpu *gpu, unsigned number, bool by_id) {
    size_t count;
    const struct mig_profile *of = profiles(gpu, &count);
    for (size_t i = 0; i < count; i++)
        if ((by_id ? of[i].id : of[i].profile) == number) return &of[i];
    return NULL;
}

unsigned mig_slices(const struct sim_gpu *gpu) { return is_small(gpu) ? 4 : 7; }

uint64_t mig_profile_memory(const struct sim_gpu *gpu, const struct mig_profile *profile) {
    return gpu->memory / (is_small(gpu) ? 4 : 8) * profile->size;
}

void mig_profile_name(const struct sim_gpu *gpu, const struct mig_profile *profile, char out[24]) {
    snprintf(out, 24, "%ug.%ugb", profile->compute, (unsigned)(mig_profile_memory(gpu, profile) >> 30));
}

static _Atomic uint32_t *entry_of(const struct sim_gpu *gpu, int slot) {
    return &sim_node()->state->partition[gpu->card][slot];
}

bool mig_is_fixed(const struct sim_gpu *gpu) { return strchr(gpu->mig, 'g') != NULL; }

/* Those that the file says, one behind the other. */
static bool fixed_at(const struct sim_gpu *gpu, int slot, struct mig_part *out) {
    char profiles_text[sizeof gpu->mig], name[24], *rest = profiles_text;
    unsigned next = 0;
    size_t count;
    const struct mig_profile *of = profiles(gpu, &count);
    strcpy(profiles_text, gpu->mig); /* as large */
    for (char *word; (word = strsep(&rest, " ,")) != NULL;)
        for (size_t i = 0; i < count; i++) {
            mig_profile_name(gpu, &of[i], name);
            if (strcmp(word, name) != 0) continue;
            next = (next + of[i].size - 1) / of[i].size * of[i].size;
            if (slot-- == 0) {
                *out = (struct mig_part){&of[i], next, 0, true};
                return true;
            }
            next += of[i].size;
        }
    return false;
}

bool mig_part_at(const struct sim_gpu *gpu, int slot, struct mig_part *out) {
    if (mig_is_fixed(gpu)) return fixed_at(gpu, slot, out);
    uint32_t entry = atomic_load(entry_of(gpu, slot));
    if (!(entry & USED)) return false;
    *out =
        (struct mig_part){mig_profile_of(gpu, ID(entry), true), START(entry), SERIAL(entry), entry & COMPUTE};
    return out->profile != NULL;
}

static bool overlaps(const struct sim_gpu *gpu, unsigned start, unsigned size) {
    struct mig_part other;
    for (int slot = 0; slot < SIM_PARTITIONS; slot++)
        if (mig_part_at(gpu, slot, &other) && start < other.start + other.profile->size &&
            other.start < start + size)
            return true;
    return false;
}

int mig_make(const struct sim_gpu *gpu, const struct mig_profile *profile, unsigned start) {
    int made = -1;
    sim_state_begin_change();
    for (int slot = 0; slot < MIG_MOST_PARTS && made < 0 && !overlaps(gpu, start, profile->size); slot++) {
        uint32_t entry = atomic_load(entry_of(gpu, slot));
        if (entry & USED) continue;
        atomic_store(entry_of(gpu, slot), ENTRY(profile->id, start, (SERIAL(entry) + 1) & 255));
        made = slot;
    }
    sim_state_end_change();
    return made;
}

void mig_unmake(const struct sim_gpu *gpu, int slot) {
    atomic_fetch_and(entry_of(gpu, slot), ~(USED | COMPUTE)); /* the serial stays */
}

void mig_set_compute(const struct sim_gpu *gpu, int slot, bool there) {
    if (there)
        atomic_fetch_or(entry_of(gpu, slot), COMPUTE);
    else
        atomic_fetch_and(entry_of(gpu, slot), ~COMPUTE);
}
