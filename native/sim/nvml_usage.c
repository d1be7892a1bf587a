/* What is used of a card, and by whom. */
#include <stdlib.h>
#include <string.h>

#include "nvml_core.h"

/* What the driver keeps for itself, some 500 MiB on a real card. In the first version's `used` it is
 * contained, so that the card's use and a process's do not compare; here it takes no room. */
#define RESERVED SIM_MIB

NVML_API nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    NVML_ENTER(device, memory);
    uint64_t used = sim_state_used(nvml_node()->state, gpu->card);
    memory->total = gpu->memory;
    memory->used = used + RESERVED;
    memory->free = memory->total - used;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    NVML_ENTER(device, memory);
    if (memory->version != NVML_MEMORY_V2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    memory->total = gpu->memory;
    memory->reserved = RESERVED;
    memory->used = sim_state_used(nvml_node()->state, gpu->card);
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *memory) {
    NVML_ENTER(device, memory);
    *memory = (nvmlBAR1Memory_t){.bar1Total = 32768 * SIM_MIB, .bar1Free = 32768 * SIM_MIB};
    return NVML_SUCCESS;
}

/* The processes that hold memory and whose pid the caller can see; to be freed. */
static struct sim_process *visible(const struct sim_gpu *gpu, unsigned *count) {
    int all;
    struct sim_process *list = sim_state_processes(nvml_node()->state, gpu->card, &all);
    *count = 0;
    for (int i = 0; i < all; i++)
        if (list[i].pid > 0 && list[i].memory > 0) list[(*count)++] = list[i];
    return list;
}

/* Fills an array of structures of one SIZE with the processes of a KIND: all begin like the longest. */
static nvmlReturn_t processes(nvmlDevice_t device, unsigned kind, unsigned *count, void *infos, size_t size) {
    NVML_ENTER(device, count);
    unsigned room = *count, all, found = 0;
    struct sim_process *list = visible(gpu, &all);
    for (unsigned i = 0; i < all; i++) {
        if (!(list[i].kinds >> kind & 1)) continue;
        nvmlProcessDetail_v1_t longest = {(unsigned)list[i].pid, list[i].memory, NVML_NO_INSTANCE,
                                          NVML_NO_INSTANCE, 0};
        if (infos && found < room) memcpy((char *)infos + found * size, &longest, size);
        found++;
    }
    free(list);
    *count = found;
    return found > room || (found && !infos) ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

#define PROCESSES(name, kind, type)                                                                          \
    NVML_API nvmlReturn_t name(nvmlDevice_t device, unsigned *count, type *infos) {                          \
        return processes(device, kind, count, infos, sizeof *infos);                                         \
    }
PROCESSES(nvmlDeviceGetComputeRunningProcesses, NVML_PROCESSES_COMPUTE, nvmlProcessInfo_v1_t)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, NVML_PROCESSES_COMPUTE, nvmlProcessInfo_v2_t)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, NVML_PROCESSES_COMPUTE, nvmlProcessInfo_v3_t)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses, NVML_PROCESSES_GRAPHICS, nvmlProcessInfo_v1_t)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, NVML_PROCESSES_GRAPHICS, nvmlProcessInfo_v2_t)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, NVML_PROCESSES_GRAPHICS, nvmlProcessInfo_v3_t)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses, NVML_PROCESSES_MPS, nvmlProcessInfo_v1_t)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2, NVML_PROCESSES_MPS, nvmlProcessInfo_v2_t)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, NVML_PROCESSES_MPS, nvmlProcessInfo_v3_t)

NVML_API nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device,
                                                            nvmlProcessDetailList_v1_t *list) {
    NVML_ENTER(device, list);
    if (list->version != NVML_PROCESS_DETAIL_LIST_V1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (list->mode > NVML_PROCESSES_MPS) return NVML_ERROR_INVALID_ARGUMENT;
    return processes(device, list->mode, &list->numProcArrayEntries, list->procArray,
                     sizeof *list->procArray);
}

NVML_API nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization) {
    NVML_ENTER(device, utilization);
    utilization->gpu = sim_state_busy(nvml_node()->state, gpu->card);
    utilization->memory = utilization->gpu / 2;
    return NVML_SUCCESS;
}

/* One sample for each process, of the last second: whether they are there, and have ROOM at PLACE. */
static nvmlReturn_t samples_fit(unsigned found, unsigned room, const void *place) {
    if (found == 0) return NVML_ERROR_NOT_FOUND;
    return found > room || !place ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device,
                                                      nvmlProcessUtilizationSample_t *samples,
                                                      unsigned *count, unsigned long long last_seen) {
    (void)last_seen;
    NVML_ENTER(device, count);
    unsigned room = *count;
    struct sim_process *list = visible(gpu, count);
    nvmlReturn_t result = samples_fit(*count, room, samples);
    for (unsigned i = 0; result == NVML_SUCCESS && i < *count; i++)
        samples[i] = (nvmlProcessUtilizationSample_t){
            .pid = (unsigned)list[i].pid, .timeStamp = sim_now() / 1000, .smUtil = list[i].busy_percent};
    free(list);
    return result;
}

NVML_API nvmlReturn_t nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device,
                                                            nvmlProcessesUtilizationInfo_v1_t *infos) {
    NVML_ENTER(device, infos);
    if (infos->version != NVML_PROCESSES_UTILIZATION_V1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    unsigned room = infos->processSamplesCount;
    struct sim_process *list = visible(gpu, &infos->processSamplesCount);
    nvmlReturn_t result = samples_fit(infos->processSamplesCount, room, infos->procUtilArray);
    for (unsigned i = 0; result == NVML_SUCCESS && i < infos->processSamplesCount; i++)
        infos->procUtilArray[i] = (nvmlProcessUtilizationInfo_v1_t){
            .pid = (unsigned)list[i].pid, .timeStamp = sim_now() / 1000, .smUtil = list[i].busy_percent};
    free(list);
    return result;
}
