/*
 * MIG: a card with `migDevices` is in MIG mode. It is split once and for all, each GPU instance with one
 * compute instance; or, with `migDevices: none`, into what is made at run time (nvml_partition.c). An
 * instance is a card of its own to most functions: name, UUID and memory are its, the rest the card's.
 */
#include "nvml_partition.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static struct sim_gpu instances[SIM_MAX_GPUS][NVML_MOST_INSTANCES];
static int counts[SIM_MAX_GPUS]; /* of those that the file says */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void split_card(const struct sim_gpu *gpu, int at) {
    char profiles[sizeof gpu->mig], *rest = profiles;
    strcpy(profiles, gpu->mig); /* as large */
    for (char *profile; (profile = strsep(&rest, " ,")) != NULL && counts[at] < NVML_MOST_INSTANCES;) {
        unsigned slices, gibibytes;
        if (sscanf(profile, "%ug.%ugb", &slices, &gibibytes) != 2) continue;
        struct sim_gpu *instance = &instances[at][counts[at]++];
        *instance = *gpu;
        instance->memory = gibibytes * (SIM_MIB << 10);
        snprintf(instance->product, sizeof instance->product, "%.60s MIG %.24s", gpu->product, profile);
        snprintf(instance->uuid, sizeof instance->uuid, "MIG-%.34s%02x", gpu->uuid + 4, counts[at]);
    }
}

static void split_all(void) {
    struct sim_node *node = nvml_node();
    for (int i = 0; node && i < node->config.gpus; i++) split_card(&node->config.gpu[i], i);
}

/* Whether there is an instance in that place now; what was made at run time is filled in. */
static bool present(int card, int slot) {
    struct sim_node *node = nvml_node();
    struct nvml_partition here;
    if (!node || card >= node->config.gpus) return false;
    pthread_once(&once, split_all);
    if (counts[card] > 0) return slot < counts[card];
    const struct sim_gpu *gpu = &node->config.gpu[card];
    if (!gpu->mig[0] || !nvml_partition_at(gpu, slot, &here) || !here.compute) return false;
    struct sim_gpu made = *gpu;
    char profile[24];
    nvml_profile_name(gpu, here.profile, profile);
    made.memory = nvml_profile_memory(gpu, here.profile);
    snprintf(made.product, sizeof made.product, "%.60s MIG %.24s", gpu->product, profile);
    snprintf(made.uuid, sizeof made.uuid, "MIG-%.32s%02x%02x", gpu->uuid + 4, (unsigned)slot, here.serial);
    instances[card][slot] = made;
    return true;
}

/* The number of the card, and in `id` that of the instance from 1; -1 for what is no instance. */
static int place_of(const struct sim_gpu *gpu, unsigned *id) {
    for (int card = 0; card < SIM_MAX_GPUS; card++)
        if (gpu >= instances[card] && gpu < instances[card] + NVML_MOST_INSTANCES) {
            *id = (unsigned)(gpu - instances[card]) + 1;
            return present(card, (int)*id - 1) ? card : -1;
        }
    return -1;
}

struct sim_gpu *nvml_instance(nvmlDevice_t device) {
    unsigned id;
    struct sim_gpu *gpu = (struct sim_gpu *)(void *)device;
    return place_of(gpu, &id) < 0 ? NULL : gpu;
}

struct sim_gpu *nvml_instance_of_uuid(const char *uuid) {
    for (int card = 0; card < SIM_MAX_GPUS; card++)
        for (int i = 0; i < NVML_MOST_INSTANCES; i++)
            if (present(card, i) && strcasecmp(instances[card][i].uuid, uuid) == 0)
                return &instances[card][i];
    return NULL;
}

NVML_API nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    NVML_ENTER(device, current && pending);
    if (!gpu->mig[0]) return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = 1;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count) {
    NVML_ENTER(device, count);
    *count = gpu->mig[0] ? NVML_MOST_INSTANCES : 0;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned *is) {
    unsigned id;
    NVML_ENTER(device, is);
    *is = place_of(gpu, &id) >= 0;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index,
                                                          nvmlDevice_t *instance) {
    NVML_ENTER(device, instance);
    if (nvml_instance(device) || index >= NVML_MOST_INSTANCES) return NVML_ERROR_NOT_FOUND;
    int card = (int)(gpu - nvml_node()->config.gpu);
    if (!present(card, (int)index)) return NVML_ERROR_NOT_FOUND;
    *instance = (nvmlDevice_t)(void *)&instances[card][index];
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned *id) {
    NVML_ENTER(device, id);
    return place_of(gpu, id) < 0 ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned *id) {
    NVML_ENTER(device, id);
    if (!nvml_instance(device)) return NVML_ERROR_NOT_SUPPORTED;
    *id = 0;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t device, nvmlDevice_t *card) {
    unsigned id;
    NVML_ENTER(device, card);
    int at = place_of(gpu, &id);
    if (at < 0) return NVML_ERROR_INVALID_ARGUMENT;
    *card = (nvmlDevice_t)(void *)&nvml_node()->config.gpu[at];
    return NVML_SUCCESS;
}
