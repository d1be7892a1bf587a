/* Event sets: what they hear comes from the file of faults. Without one, waiting ends with a time-out. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nvml_core.h"
#include "nvml_faults.h"

/* XID errors, single and double bit ECC errors: what device health watchers register for. */
enum { SUPPORTED_EVENTS = 0x1 | 0x2 | 0x8 };
enum { LOOK_EVERY_MS = 20 };

struct nvmlEventSet_st {
    unsigned long long types[SIM_MAX_GPUS]; /* by place of the card in the file */
    unsigned heard; /* events of the file that are told already, or older than the set */
};

NVML_API nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types) {
    NVML_ENTER(device, types);
    (void)gpu;
    *types = SUPPORTED_EVENTS;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    if (!nvml_node()) return NVML_ERROR_UNINITIALIZED;
    if (!set) return NVML_ERROR_INVALID_ARGUMENT;
    *set = calloc(1, sizeof **set);
    if (!*set) return NVML_ERROR_MEMORY;
    (*set)->heard = sim_fault_events();
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types,
                                               nvmlEventSet_t set) {
    NVML_ENTER(device, set);
    if (types & ~(unsigned long long)SUPPORTED_EVENTS) return NVML_ERROR_NOT_SUPPORTED;
    set->types[gpu->card] |= types;
    return NVML_SUCCESS;
}

/* The next event that the set was registered for. */
static bool next_event(nvmlEventSet_t set, nvmlEventData_t *data) {
    struct sim_node *node = nvml_node();
    struct sim_fault_event event;
    while (sim_fault_event(set->heard, &event)) {
        set->heard++;
        for (int i = 0; i < node->config.gpus; i++) {
            struct sim_gpu *gpu = &node->config.gpu[i];
            if (strcmp(gpu->uuid, event.uuid) != 0 || !(set->types[gpu->card] & event.type)) continue;
            *data = (nvmlEventData_t){.device = (nvmlDevice_t)(void *)gpu,
                                      .eventType = event.type,
                                      .eventData = event.code,
                                      .gpuInstanceId = 0xffffffff,
                                      .computeInstanceId = 0xffffffff};
            return true;
        }
    }
    return false;
}

NVML_API nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned timeout_ms) {
    if (!nvml_node()) return NVML_ERROR_UNINITIALIZED;
    if (!set || !data) return NVML_ERROR_INVALID_ARGUMENT;
    while (!next_event(set, data)) {
        if (timeout_ms == 0) return NVML_ERROR_TIMEOUT;
        unsigned step = timeout_ms < LOOK_EVERY_MS ? timeout_ms : LOOK_EVERY_MS;
        struct timespec wait = {.tv_nsec = (long)step * 1000000};
        nanosleep(&wait, NULL);
        timeout_ms -= step;
    }
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_t *data, unsigned timeout_ms) {
    return nvmlEventSetWait_v2(set, data, timeout_ms);
}

NVML_API nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
    free(set);
    return NVML_SUCCESS;
}
