/*
 * MIG instances made and destroyed at run time, on a card in MIG mode that the file does not split
 * (`migDevices: none`). Each GPU instance takes one compute instance of its whole size. Profiles and places
 * are those of an A30 for cards up to 24 GiB, of an A100 for larger ones.
 */
#include "nvml_partition.h"

#include <stdio.h>
#include <string.h>

static const struct nvml_profile small[] = {
    {0, 14, 1, 1, {0, 1, 2, 3}, 4},
    {1, 5, 2, 2, {0, 2}, 2},
    {3, 0, 4, 4, {0}, 1},
};
static const struct nvml_profile large[] = {
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

static const struct nvml_profile *profiles(const struct sim_gpu *gpu, size_t *count) {
    *count = is_small(gpu) ? COUNT(small) : COUNT(large);
    return is_small(gpu) ? small : large;
}

static const struct nvml_profile *profile_of(const struct sim_gpu *gpu, unsigned number, bool by_id) {
    size_t count;
    const struct nvml_profile *of = profiles(gpu, &count);
    for (size_t i = 0; i < count; i++)
        if ((by_id ? of[i].id : of[i].profile) == number) return &of[i];
    return NULL;
}

uint64_t nvml_profile_memory(const struct sim_gpu *gpu, const struct nvml_profile *profile) {
    return gpu->memory / (is_small(gpu) ? 4 : 8) * profile->size;
}

void nvml_profile_name(const struct sim_gpu *gpu, const struct nvml_profile *profile, char out[24]) {
    snprintf(out, 24, "%ug.%ugb", profile->compute, (unsigned)(nvml_profile_memory(gpu, profile) >> 30));
}

static _Atomic uint32_t *entry_of(const struct sim_gpu *gpu, int slot) {
    return &nvml_node()->state->partition[gpu->card][slot];
}

/* Whether the file says what the card is split into. */
static bool is_fixed(const struct sim_gpu *gpu) { return strchr(gpu->mig, 'g') != NULL; }

/* Those that the file says, one behind the other. */
static bool fixed_at(const struct sim_gpu *gpu, int slot, struct nvml_partition *out) {
    char profiles_text[sizeof gpu->mig], name[24], *rest = profiles_text;
    unsigned next = 0;
    size_t count;
    const struct nvml_profile *of = profiles(gpu, &count);
    strcpy(profiles_text, gpu->mig); /* as large */
    for (char *word; (word = strsep(&rest, " ,")) != NULL;)
        for (size_t i = 0; i < count; i++) {
            nvml_profile_name(gpu, &of[i], name);
            if (strcmp(word, name) != 0) continue;
            next = (next + of[i].size - 1) / of[i].size * of[i].size;
            if (slot-- == 0) {
                *out = (struct nvml_partition){&of[i], next, 0, true};
                return true;
            }
            next += of[i].size;
        }
    return false;
}

bool nvml_partition_at(const struct sim_gpu *gpu, int slot, struct nvml_partition *out) {
    if (is_fixed(gpu)) return fixed_at(gpu, slot, out);
    uint32_t entry = atomic_load(entry_of(gpu, slot));
    if (!(entry & USED)) return false;
    *out = (struct nvml_partition){profile_of(gpu, ID(entry), true), START(entry), SERIAL(entry),
                                   entry & COMPUTE};
    return out->profile != NULL;
}

/* Handles are numbers of card and slot: both libraries' structures are opaque. */
static void *handle(const struct sim_gpu *gpu, int slot) {
    return (void *)(uintptr_t)(1 + gpu->card * SIM_PARTITIONS + slot);
}

static struct sim_gpu *card_of(void *instance, int *slot) {
    struct sim_node *node = nvml_node();
    uintptr_t number = (uintptr_t)instance - 1;
    *slot = (int)(number % SIM_PARTITIONS);
    for (int i = 0; node && i < node->config.gpus; i++)
        if (node->config.gpu[i].card == (int)(number / SIM_PARTITIONS)) return &node->config.gpu[i];
    return NULL;
}

#define ENTER_INSTANCE(instance)                                                                             \
    int slot;                                                                                                \
    struct nvml_partition here;                                                                              \
    struct sim_gpu *gpu = card_of(instance, &slot);                                                          \
    if (!gpu) return nvml_bad_device();                                                                      \
    if (!nvml_partition_at(gpu, slot, &here)) return NVML_ERROR_NOT_FOUND

#define ENTER_CARD(device, out)                                                                              \
    NVML_ENTER(device, out);                                                                                 \
    if (!gpu->mig[0] || nvml_instance(device)) return NVML_ERROR_NOT_SUPPORTED

NVML_API nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoV(nvmlDevice_t device, unsigned number,
                                                           nvmlGpuInstanceProfileInfo_v2_t *info) {
    ENTER_CARD(device, info);
    const struct nvml_profile *profile = profile_of(gpu, number, false);
    if (!profile) return NVML_ERROR_NOT_SUPPORTED;
    char name[24];
    nvml_profile_name(gpu, profile, name);
    *info = (nvmlGpuInstanceProfileInfo_v2_t){
        .version = info->version,
        .id = profile->id,
        .sliceCount = profile->compute,
        .instanceCount = profile->places,
        .multiprocessorCount = gpu->multiprocessors / (is_small(gpu) ? 4 : 7) * profile->compute,
        .memorySizeMB = nvml_profile_memory(gpu, profile) / SIM_MIB};
    snprintf(info->name, sizeof info->name, "MIG %s", name);
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements_v2(nvmlDevice_t device, unsigned id,
                                                                    nvmlGpuInstancePlacement_t *places,
                                                                    unsigned *count) {
    ENTER_CARD(device, count);
    const struct nvml_profile *profile = profile_of(gpu, id, true);
    if (!profile) return NVML_ERROR_NOT_SUPPORTED;
    for (unsigned i = 0; places && i < profile->places; i++)
        places[i] = (nvmlGpuInstancePlacement_t){profile->starts[i], profile->size};
    *count = profile->places;
    return NVML_SUCCESS;
}

static bool overlaps(const struct sim_gpu *gpu, unsigned start, unsigned size) {
    struct nvml_partition other;
    for (int slot = 0; slot < SIM_PARTITIONS; slot++)
        if (nvml_partition_at(gpu, slot, &other) && start < other.start + other.profile->size &&
            other.start < start + size)
            return true;
    return false;
}

NVML_API nvmlReturn_t nvmlDeviceCreateGpuInstanceWithPlacement(nvmlDevice_t device, unsigned id,
                                                               const nvmlGpuInstancePlacement_t *place,
                                                               nvmlGpuInstance_t *instance) {
    ENTER_CARD(device, place && instance);
    const struct nvml_profile *profile = profile_of(gpu, id, true);
    bool possible = false;
    for (unsigned i = 0; profile && i < profile->places; i++)
        possible = possible || profile->starts[i] == place->start;
    if (!possible) return NVML_ERROR_INVALID_ARGUMENT;
    if (is_fixed(gpu)) return NVML_ERROR_INSUFFICIENT_RESOURCES;
    nvmlReturn_t result = NVML_ERROR_INSUFFICIENT_RESOURCES;
    sim_state_begin_change();
    for (int slot = 0; slot < SIM_PARTITIONS && !overlaps(gpu, place->start, profile->size); slot++) {
        uint32_t entry = atomic_load(entry_of(gpu, slot));
        if (entry & USED) continue;
        atomic_store(entry_of(gpu, slot), ENTRY(id, place->start, (SERIAL(entry) + 1) & 255));
        *instance = handle(gpu, slot);
        result = NVML_SUCCESS;
    }
    sim_state_end_change();
    return result;
}

NVML_API nvmlReturn_t nvmlDeviceGetGpuInstances(nvmlDevice_t device, unsigned id, nvmlGpuInstance_t *out,
                                                unsigned *count) {
    ENTER_CARD(device, count);
    struct nvml_partition here;
    *count = 0;
    for (int slot = 0; slot < SIM_PARTITIONS; slot++)
        if (nvml_partition_at(gpu, slot, &here) && here.profile->id == id && out)
            out[(*count)++] = handle(gpu, slot);
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t instance, nvmlGpuInstanceInfo_t *info) {
    ENTER_INSTANCE(instance);
    if (!info) return NVML_ERROR_INVALID_ARGUMENT;
    *info = (nvmlGpuInstanceInfo_t){
        (nvmlDevice_t)(void *)gpu, (unsigned)slot + 1, here.profile->id, {here.start, here.profile->size}};
    return NVML_SUCCESS;
}

/* A process on the card stands for one in any of its instances: which one it is in is not simulated. */
NVML_API nvmlReturn_t nvmlGpuInstanceDestroy(nvmlGpuInstance_t instance) {
    ENTER_INSTANCE(instance);
    if (is_fixed(gpu)) return NVML_ERROR_NO_PERMISSION;
    if (here.compute || sim_state_used(nvml_node()->state, gpu->card)) return NVML_ERROR_IN_USE;
    uint32_t entry = atomic_load(entry_of(gpu, slot));
    atomic_store(entry_of(gpu, slot), entry & ~(USED | COMPUTE));
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t
nvmlGpuInstanceGetComputeInstanceProfileInfoV(nvmlGpuInstance_t instance, unsigned number, unsigned engines,
                                              nvmlComputeInstanceProfileInfo_v2_t *info) {
    ENTER_INSTANCE(instance);
    if (!info || engines) return NVML_ERROR_INVALID_ARGUMENT;
    if (number != here.profile->profile) return NVML_ERROR_NOT_SUPPORTED; /* of the whole size alone */
    *info = (nvmlComputeInstanceProfileInfo_v2_t){
        .version = info->version, .id = number, .sliceCount = here.profile->compute, .instanceCount = 1};
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlGpuInstanceCreateComputeInstance(nvmlGpuInstance_t instance, unsigned id,
                                                           nvmlComputeInstance_t *out) {
    ENTER_INSTANCE(instance);
    if (!out || id != here.profile->profile) return NVML_ERROR_INVALID_ARGUMENT;
    if (here.compute) return NVML_ERROR_INSUFFICIENT_RESOURCES;
    atomic_fetch_or(entry_of(gpu, slot), COMPUTE);
    *out = handle(gpu, slot);
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlGpuInstanceGetComputeInstances(nvmlGpuInstance_t instance, unsigned id,
                                                         nvmlComputeInstance_t *out, unsigned *count) {
    ENTER_INSTANCE(instance);
    if (!count) return NVML_ERROR_INVALID_ARGUMENT;
    *count = here.compute && id == here.profile->profile;
    if (*count && out) out[0] = handle(gpu, slot);
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlComputeInstanceDestroy(nvmlComputeInstance_t compute) {
    ENTER_INSTANCE(compute);
    if (is_fixed(gpu)) return NVML_ERROR_NO_PERMISSION;
    if (!here.compute) return NVML_ERROR_NOT_FOUND;
    if (sim_state_used(nvml_node()->state, gpu->card)) return NVML_ERROR_IN_USE;
    atomic_fetch_and(entry_of(gpu, slot), ~COMPUTE);
    return NVML_SUCCESS;
}
