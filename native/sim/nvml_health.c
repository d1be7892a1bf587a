/* Sensors, modes and health: constants of the file, or of a card in good order. */
#include "nvml_core.h"

/* A function about one card with one unsigned result. */
#define CONSTANT(name, value)                                                                                \
    NVML_API nvmlReturn_t name(nvmlDevice_t device, unsigned *out) {                                         \
        NVML_ENTER(device, out);                                                                             \
        (void)gpu;                                                                                           \
        *out = (value);                                                                                      \
        return NVML_SUCCESS;                                                                                 \
    }
static bool busy(const struct sim_gpu *gpu) { return sim_state_busy(nvml_node()->state, gpu->card) > 0; }

CONSTANT(nvmlDeviceGetPowerUsage,
         1000 * (busy(gpu) ? gpu->power_limit_watts * 9 / 10 : gpu->power_idle_watts))
CONSTANT(nvmlDeviceGetPowerManagementLimit, 1000 * gpu->power_limit_watts)
CONSTANT(nvmlDeviceGetPowerManagementDefaultLimit, 1000 * gpu->power_limit_watts)
CONSTANT(nvmlDeviceGetEnforcedPowerLimit, 1000 * gpu->power_limit_watts)
CONSTANT(nvmlDeviceGetPowerManagementMode, 1)
CONSTANT(nvmlDeviceGetPerformanceState, busy(gpu) ? 0 : 8) /* P0 .. P15 */
CONSTANT(nvmlDeviceGetPowerState, busy(gpu) ? 0 : 8)
CONSTANT(nvmlDeviceGetFanSpeed, 0)
CONSTANT(nvmlDeviceGetNumFans, 1)
CONSTANT(nvmlDeviceGetPersistenceMode, 1)
CONSTANT(nvmlDeviceGetDisplayActive, 0)
CONSTANT(nvmlDeviceGetDisplayMode, 0)
CONSTANT(nvmlDeviceGetComputeMode, 0)
CONSTANT(nvmlDeviceGetMultiGpuBoard, 0)
CONSTANT(nvmlDeviceGetCurrPcieLinkGeneration, 4)
CONSTANT(nvmlDeviceGetMaxPcieLinkGeneration, 4)
CONSTANT(nvmlDeviceGetCurrPcieLinkWidth, 16)
CONSTANT(nvmlDeviceGetMaxPcieLinkWidth, 16)
CONSTANT(nvmlDeviceGetNumGpuCores, gpu->multiprocessors * 128)

NVML_API nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned sensor, unsigned *celsius) {
    NVML_ENTER(device, celsius);
    if (sensor != 0) return NVML_ERROR_INVALID_ARGUMENT;
    *celsius = gpu->temperature;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, unsigned type, unsigned *mhz) {
    NVML_ENTER(device, mhz);
    if (type > 3) return NVML_ERROR_INVALID_ARGUMENT;
    *mhz = type == 2 ? 6251 : busy(gpu) ? 1695 : 210;
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, unsigned type, unsigned *mhz) {
    NVML_ENTER(device, mhz);
    (void)gpu;
    if (type > 3) return NVML_ERROR_INVALID_ARGUMENT;
    *mhz = type == 2 ? 6251 : 1695;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *current,
                                           nvmlEnableState_t *pending) {
    NVML_ENTER(device, current && pending);
    (void)gpu;
    *current = *pending = 1;
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, unsigned type, unsigned counter,
                                                  unsigned long long *errors) {
    NVML_ENTER(device, errors);
    (void)gpu;
    if (type > 1 || counter > 1) return NVML_ERROR_INVALID_ARGUMENT;
    *errors = 0;
    return NVML_SUCCESS;
}
/* Of all fields the recovery action alone is simulated, which drivers have since r560. */
NVML_API nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values) {
    NVML_ENTER(device, values);
    for (int i = 0; i < count; i++) {
        bool known = values[i].fieldId == NVML_FI_DEV_GET_GPU_RECOVERY_ACTION;
        values[i].nvmlReturn = known ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
        values[i].valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
        values[i].value.uiVal = known ? sim_fault_recovery(gpu) : 0;
    }
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned link,
                                               nvmlEnableState_t *active) {
    (void)link;
    NVML_ENTER(device, active);
    (void)gpu;
    return NVML_ERROR_NOT_SUPPORTED;
}
