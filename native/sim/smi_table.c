/* The default table, in the columns of nvidia-smi 550: every line has 91 characters. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "smi.h"

#define RULE "+-----------------------------------------------------------------------------------------+\n"
#define GRID "+-----------------------------------------+------------------------+----------------------+\n"

static const char head[] =
    "|-----------------------------------------+------------------------+----------------------+\n"
    "| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |\n"
    "| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |\n"
    "|                                         |                        |               MIG M. |\n"
    "|=========================================+========================+======================|\n";

static const char processes_head[] =
    RULE "| Processes:                                                                              |\n"
         "|  GPU   GI   CI        PID   Type   Process name                              GPU Memory |\n"
         "|        ID   ID                                                               Usage      |\n"
         "|=========================================================================================|\n";

static const char *on_off(nvmlReturn_t (*get)(nvmlDevice_t, unsigned *), nvmlDevice_t device) {
    unsigned value;
    return get(device, &value) != NVML_SUCCESS ? "N/A" : value ? "On" : "Off";
}

/* The number with `unit` behind it, or N/A where the card has none. */
static const char *number(char out[16], nvmlReturn_t result, unsigned long long value, const char *unit) {
    snprintf(out, 16, result == NVML_SUCCESS ? "%llu%s" : "N/A", value, unit);
    return out;
}

static void print_gpu(nvmlDevice_t device, unsigned index) {
    char name[NVML_DEVICE_NAME_V2_BUFFER_SIZE] = "", fan[16], temperature[16], state[16], usage[16], cap[16],
         ecc[16], load[16];
    nvmlPciInfo_t pci = {0};
    nvmlMemory_v2_t memory = {.version = NVML_MEMORY_V2};
    nvmlUtilization_t utilization = {0};
    unsigned value = 0, pending = 0;
    unsigned long long errors = 0;
    nvml.nvmlDeviceGetName(device, name, sizeof name);
    nvml.nvmlDeviceGetPciInfo_v3(device, &pci);
    nvml.nvmlDeviceGetMemoryInfo_v2(device, &memory);
    number(ecc, nvml.nvmlDeviceGetTotalEccErrors(device, 1, 0, &errors), errors, "");
    printf("|%4u  %-30.30s%3s  | %18s %3s | %20s |\n", index, name,
           on_off(nvml.nvmlDeviceGetPersistenceMode, device), pci.busId,
           on_off(nvml.nvmlDeviceGetDisplayActive, device), ecc);

    number(fan, nvml.nvmlDeviceGetFanSpeed(device, &value), value, "%");
    nvmlReturn_t result = nvml.nvmlDeviceGetTemperature(device, 0, &value);
    number(temperature, result, value, "C");
    result = nvml.nvmlDeviceGetPerformanceState(device, &value);
    snprintf(state, sizeof state, result == NVML_SUCCESS ? "P%u" : "N/A", value);
    result = nvml.nvmlDeviceGetPowerUsage(device, &value);
    number(usage, result, value / 1000, "W");
    result = nvml.nvmlDeviceGetEnforcedPowerLimit(device, &value);
    number(cap, result, value / 1000, "W");
    result = nvml.nvmlDeviceGetUtilizationRates(device, &utilization);
    number(load, result, utilization.gpu, "%");
    result = nvml.nvmlDeviceGetComputeMode(device, &value);
    const char *mode = result != NVML_SUCCESS ? "N/A"
                       : value == 0           ? "Default"
                       : value == 2           ? "Prohibited"
                                              : "E. Process";
    printf("| %3s  %4s    %-3s          %5s / %5s |%8lluMiB / %6lluMiB | %7s %12s |\n", fan, temperature,
           state, usage, cap, memory.used >> 20, memory.total >> 20, load, mode);
    result = nvml.nvmlDeviceGetMigMode(device, &value, &pending);
    const char *mig = result != NVML_SUCCESS ? "N/A" : value ? "Enabled" : "Disabled";
    printf("| %39s | %22s | %20s |\n" GRID, "", "", mig);
}

static unsigned print_processes(nvmlDevice_t device, unsigned index) {
    static nvmlProcessInfo_v3_t list[1024];
    unsigned count = smi_processes(device, list, 1024);
    for (unsigned i = 0; i < count; i++) {
        char name[256] = "[Not Found]";
        nvml.nvmlSystemGetProcessName(list[i].pid, name, sizeof name);
        size_t length = strlen(name);
        const char *shown = name;
        if (length > 39) shown = memcpy(name + length - 39, "...", 3); /* the end of a path says more */
        printf("|%5u   N/A  N/A%10u      C   %-40s%9lluMiB |\n", index, list[i].pid, shown,
               list[i].usedGpuMemory >> 20);
    }
    return count;
}

int smi_table(const nvmlDevice_t *devices, unsigned count) {
    char driver[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE] = "N/A", cuda[32] = "N/A", date[64];
    int version;
    time_t now = time(NULL);
    struct tm local;
    nvml.nvmlSystemGetDriverVersion(driver, sizeof driver);
    if (nvml.nvmlSystemGetCudaDriverVersion_v2(&version) == NVML_SUCCESS)
        snprintf(cuda, sizeof cuda, "%d.%d", version / 1000, version % 1000 / 10);
    strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", localtime_r(&now, &local));
    printf("%s       \n" RULE "| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %-8s |\n%s", date,
           driver, driver, cuda, head);
    unsigned index = 0, processes = 0;
    for (unsigned i = 0; i < count; i++) {
        nvml.nvmlDeviceGetIndex(devices[i], &index);
        print_gpu(devices[i], index);
    }
    printf("%89s\n%s", "", processes_head);
    for (unsigned i = 0; i < count; i++) {
        nvml.nvmlDeviceGetIndex(devices[i], &index);
        processes += print_processes(devices[i], index);
    }
    if (!processes) printf("|  %-86s |\n", "No running processes found");
    printf(RULE);
    return 0;
}
