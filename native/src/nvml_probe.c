#include "nvml_probe.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "hooks.h"

enum { MOST_PROCESSES = 256 };

static nvmlReturn_t (*by_uuid)(const char *, nvmlDevice_t *);
static nvmlReturn_t (*memory_info)(nvmlDevice_t, nvmlMemory_t *);
typedef nvmlReturn_t (*lister)(nvmlDevice_t, unsigned int *, nvmlProcessInfo_v3_t *);
static lister compute, clients_of_mps;
static bool usable;

/* Once and for good, as NVML takes long to begin; a program's own calls of it are counted by themselves. */
static void initialise(void) {
    nvmlReturn_t (*begin)(void) = driver_function("nvmlInit_v2");
    by_uuid = driver_function("nvmlDeviceGetHandleByUUID");
    memory_info = driver_function("nvmlDeviceGetMemoryInfo");
    compute = driver_function("nvmlDeviceGetComputeRunningProcesses_v3");
    clients_of_mps = driver_function("nvmlDeviceGetMPSComputeRunningProcesses_v3");
    usable = begin && by_uuid && memory_info && begin() == NVML_SUCCESS;
}

/* 0: it is not in the list. */
static uint64_t of_this_process(lister list, nvmlDevice_t device) {
    unsigned int count = MOST_PROCESSES;
    nvmlProcessInfo_v3_t *processes = malloc(MOST_PROCESSES * sizeof *processes); /* stacks may be small */
    uint64_t used = 0;
    if (!processes || !list || list(device, &count, processes) != NVML_SUCCESS) count = 0;
    for (unsigned int i = 0; i < count; i++)
        if (processes[i].pid == (unsigned int)getpid() &&
            processes[i].usedGpuMemory != NVML_VALUE_NOT_AVAILABLE)
            used = processes[i].usedGpuMemory;
    free(processes);
    return used;
}

nvml_used nvml_used_bytes(const char *uuid) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, initialise);
    nvmlDevice_t device;
    nvmlMemory_t memory = {0};
    nvml_used used = {0};
    if (!usable || by_uuid(uuid, &device) != NVML_SUCCESS) return used;
    used.process = of_this_process(compute, device);
    if (!used.process) used.process = of_this_process(clients_of_mps, device);
    /* Each question takes long on a real card. */
    if (!used.process && memory_info(device, &memory) == NVML_SUCCESS) used.card = memory.used;
    return used;
}
