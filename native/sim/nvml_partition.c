/*
 * MIG instances made and destroyed at run time, on a card in MIG mode that the file does not cut
 * (`migDevices: none`). Each GPU instance takes one compute instance of its whole size.
 */
#include <stdio.h>

#include "mig_instances.h"
#include "mig_parts.h"
#include "nvml_core.h"

/* Handles are numbers of card and slot: both libraries' structures are opaque. */
static void *handle(const struct sim_gpu *gpu, int slot) {
    return (void *)(uintptr_t)(1 + gpu->card * MIG_MOST_PARTS + slot);
}

static struct sim_gpu *card_of(void *instance, int *slot) {
    struct sim_node *node = nvml_node();
    uintptr_t number = (uintptr_t)instance - 1;
    *slot = (int)(number % MIG_MOST_PARTS);
    for (int i = 0; node && i < node->config.gpus; i++)
        if (node->config.gpu[i].card == (int)(number / MIG_MOST_PARTS)) return &node->config.gpu[i];
    return NULL;
}

#define ENTER_INSTANCE(instance)                                                                             \
    int slot;                                                                                                \
    struct mig_part here;                                                                                    \
    struct sim_gpu *gpu = card_of(instance, &slot);                                                          \
    if (!gpu) return nvml_bad_device();                                                                      \
    if (!mig_part_at(gpu, slot, &here)) return NVML_ERROR_NOT_FOUND

#define ENTER_CARD(device, out)                                                                              \
    NVML_ENTER(device, out);                                                                                 \
    if (!gpu->mig[0] || mig_is_instance(gpu)) return NVML_ERROR_NOT_SUPPORTED

NVML_API nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoV(nvmlDevice_t device, unsigned number,
                                                           nvmlGpuInstanceProfileInfo_v2_t *info) {
    ENTER_CARD(device, info);
    const struct mig_profile *profile = mig_profile_of(gpu, number, false);
    if (!profile) return NVML_ERROR_NOT_SUPPORTED;
    char name[24];
    mig_profile_name(gpu, profile, name);
    *info = (nvmlGpuInstanceProfileInfo_v2_t){.version = info->version,
                                              .id = profile->id,
                                              .sliceCount = profile->compute,
                                              .instanceCount = profile->places,
                                              .multiprocessorCount =
                                                  gpu->multiprocessors / mig_slices(gpu) * profile->compute,
                                              .memorySizeMB = mig_profile_memory(gpu, profile) / SIM_MIB};
    snprintf(info->name, sizeof info->name, "MIG %s", name);
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements_v2(nvmlDevice_t device, unsigned id,
                                                                    nvmlGpuInstancePlacement_t *places,
                                                                    unsigned *count) {
    ENTER_CARD(device, count);
    const struct mig_profile *profile = mig_profile_of(gpu, id, true);
    if (!profile) return NVML_ERROR_NOT_SUPPORTED;
    for (unsigned i = 0; places && i < profile->places; i++)
        places[i] = (nvmlGpuInstancePlacement_t){profile->starts[i], profile->size};
    *count = profile->places;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceCreateGpuInstanceWithPlacement(nvmlDevice_t device, unsigned id,
                                                               const nvmlGpuInstancePlacement_t *place,
                                                               nvmlGpuInstance_t *instance) {
    ENTER_CARD(device, place && instance);
    const struct mig_profile *profile = mig_profile_of(gpu, id, true);
    bool possible = false;
    for (unsigned i = 0; profile && i < profile->places; i++)
        possible = possible || profile->starts[i] == place->start;
    if (!possible) return NVML_ERROR_INVALID_ARGUMENT;
    if (mig_is_fixed(gpu)) return NVML_ERROR_INSUFFICIENT_RESOURCES;
    int slot = mig_make(gpu, profile, place->start);
    if (slot < 0) return NVML_ERROR_INSUFFICIENT_RESOURCES;
    *instance = handle(gpu, slot);
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetGpuInstances(nvmlDevice_t device, unsigned id, nvmlGpuInstance_t *out,
                                                unsigned *count) {
    ENTER_CARD(device, count);
    struct mig_part here;
    *count = 0;
    for (int slot = 0; slot < MIG_MOST_PARTS; slot++)
        if (mig_part_at(gpu, slot, &here) && here.profile->id == id && out)
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
    if (mig_is_fixed(gpu)) return NVML_ERROR_NO_PERMISSION;
    if (here.compute || sim_state_used(nvml_node()->state, gpu->card)) return NVML_ERROR_IN_USE;
    mig_unmake(gpu, slot);
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
    mig_set_compute(gpu, slot, true);
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
    if (mig_is_fixed(gpu)) return NVML_ERROR_NO_PERMISSION;
    if (!here.compute) return NVML_ERROR_NOT_FOUND;
    if (sim_state_used(nvml_node()->state, gpu->card)) return NVML_ERROR_IN_USE;
    mig_set_compute(gpu, slot, false);
    return NVML_SUCCESS;
}
