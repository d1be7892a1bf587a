#include "nvml_probe.h"

#include <unistd.h>

#include "hooks.h"

enum { MOST_PROCESSES = 256 };

static uint64_t of_this_process(nvmlDevice_t device) {
    nvmlReturn_t (*list)(nvmlDevice_t, unsigned int *, nvmlProcessInfo_v3_t *) =
        driver_function("nvmlDeviceGetComputeRunningProcesses_v3");
    unsigned int count = MOST_PROCESSES;
    nvmlProcessInfo_v3_t processes[MOST_PROCESSES];
    if (!list || list(device, &count, processes) != NVML_SUCCESS) return 0;
    for (unsigned int i = 0; i < count; i++)
        if (processes[i].pid == (unsigned int)getpid() &&
            processes[i].usedGpuMemory != NVML_VALUE_NOT_AVAILABLE)
            return processes[i].usedGpuMemory;
    return 0;
}

nvml_used nvml_used_bytes(const char *uuid) {
    nvmlReturn_t (*initialise)(void) = driver_function("nvmlInit_v2");
    nvmlReturn_t (*shut_down)(void) = driver_function("nvmlShutdown");
    nvmlReturn_t (*by_uuid)(const char *, nvmlDevice_t *) = driver_function("nvmlDeviceGetHandleByUUID");
    nvmlReturn_t (*memory_info)(nvmlDevice_t, nvmlMemory_t *) = driver_function("nvmlDeviceGetMemoryInfo");
    if (!initialise || !shut_down || !by_uuid || !memory_info || initialise() != NVML_SUCCESS)
        return (nvml_used){0};
    nvmlDevice_t device;
    nvmlMemory_t memory = {0};
    nvml_used used = {0};
    if (by_uuid(uuid, &device) == NVML_SUCCESS) {
        used.process = of_this_process(device);
        if (memory_info(device, &memory) == NVML_SUCCESS) used.card = memory.used;
    }
    shut_down();
    return used;
}
