/* MIG: a card with `migDevices` is in MIG mode. To most functions an instance is a card of its own. */
#include "mig_instances.h"
#include "mig_parts.h"
#include "nvml_core.h"

NVML_API nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    NVML_ENTER(device, current && pending);
    if (!gpu->mig[0]) return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = 1;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count) {
    NVML_ENTER(device, count);
    *count = gpu->mig[0] ? MIG_MOST_PARTS : 0;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned *is) {
    NVML_ENTER(device, is);
    *is = mig_is_instance(gpu);
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index,
                                                          nvmlDevice_t *instance) {
    NVML_ENTER(device, instance);
    if (mig_is_instance(gpu)) return NVML_ERROR_NOT_FOUND;
    struct sim_gpu *found = mig_instance((int)(gpu - nvml_node()->config.gpu), index);
    if (!found) return NVML_ERROR_NOT_FOUND;
    *instance = (nvmlDevice_t)(void *)found;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned *id) {
    NVML_ENTER(device, id);
    return mig_card_of(gpu, id) < 0 ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned *id) {
    NVML_ENTER(device, id);
    if (!mig_is_instance(gpu)) return NVML_ERROR_NOT_SUPPORTED;
    *id = 0;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t device, nvmlDevice_t *card) {
    unsigned id;
    NVML_ENTER(device, card);
    int at = mig_card_of(gpu, &id);
    if (at < 0) return NVML_ERROR_INVALID_ARGUMENT;
    *card = (nvmlDevice_t)(void *)&nvml_node()->config.gpu[at];
    return NVML_SUCCESS;
}
