/* nvidia-smi of the simulated driver: it knows NVML only through dlopen and dlsym, as the real one. */
#pragma once

#include <stdbool.h>

#include "nvml_abi.h"

/* The functions of NVML that we call: SMI_NVML(name, parameters). */
#define SMI_NVML_FUNCTIONS                                                                                   \
    SMI_NVML(nvmlInit_v2, (void))                                                                            \
    SMI_NVML(nvmlShutdown, (void))                                                                           \
    SMI_NVML(nvmlSystemGetDriverVersion, (char *, unsigned))                                                 \
    SMI_NVML(nvmlSystemGetCudaDriverVersion_v2, (int *))                                                     \
    SMI_NVML(nvmlSystemGetProcessName, (unsigned, char *, unsigned))                                         \
    SMI_NVML(nvmlDeviceGetCount_v2, (unsigned *))                                                            \
    SMI_NVML(nvmlDeviceGetHandleByIndex_v2, (unsigned, nvmlDevice_t *))                                      \
    SMI_NVML(nvmlDeviceGetHandleByUUID, (const char *, nvmlDevice_t *))                                      \
    SMI_NVML(nvmlDeviceGetHandleByPciBusId_v2, (const char *, nvmlDevice_t *))                               \
    SMI_NVML(nvmlDeviceGetIndex, (nvmlDevice_t, unsigned *))                                                 \
    SMI_NVML(nvmlDeviceGetName, (nvmlDevice_t, char *, unsigned))                                            \
    SMI_NVML(nvmlDeviceGetUUID, (nvmlDevice_t, char *, unsigned))                                            \
    SMI_NVML(nvmlDeviceGetSerial, (nvmlDevice_t, char *, unsigned))                                          \
    SMI_NVML(nvmlDeviceGetPciInfo_v3, (nvmlDevice_t, nvmlPciInfo_t *))                                       \
    SMI_NVML(nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t, nvmlMemory_v2_t *))                                  \
    SMI_NVML(nvmlDeviceGetUtilizationRates, (nvmlDevice_t, nvmlUtilization_t *))                             \
    SMI_NVML(nvmlDeviceGetComputeRunningProcesses_v3, (nvmlDevice_t, unsigned *, nvmlProcessInfo_v3_t *))    \
    SMI_NVML(nvmlDeviceGetTemperature, (nvmlDevice_t, unsigned, unsigned *))                                 \
    SMI_NVML(nvmlDeviceGetPowerUsage, (nvmlDevice_t, unsigned *))                                            \
    SMI_NVML(nvmlDeviceGetEnforcedPowerLimit, (nvmlDevice_t, unsigned *))                                    \
    SMI_NVML(nvmlDeviceGetFanSpeed, (nvmlDevice_t, unsigned *))                                              \
    SMI_NVML(nvmlDeviceGetPerformanceState, (nvmlDevice_t, unsigned *))                                      \
    SMI_NVML(nvmlDeviceGetPersistenceMode, (nvmlDevice_t, unsigned *))                                       \
    SMI_NVML(nvmlDeviceGetDisplayActive, (nvmlDevice_t, unsigned *))                                         \
    SMI_NVML(nvmlDeviceGetComputeMode, (nvmlDevice_t, unsigned *))                                           \
    SMI_NVML(nvmlDeviceGetClockInfo, (nvmlDevice_t, unsigned, unsigned *))                                   \
    SMI_NVML(nvmlDeviceGetCudaComputeCapability, (nvmlDevice_t, int *, int *))                               \
    SMI_NVML(nvmlDeviceGetMigMode, (nvmlDevice_t, unsigned *, unsigned *))                                   \
    SMI_NVML(nvmlDeviceGetEccMode, (nvmlDevice_t, unsigned *, unsigned *))                                   \
    SMI_NVML(nvmlDeviceGetTotalEccErrors, (nvmlDevice_t, unsigned, unsigned, unsigned long long *))

struct smi_nvml {
#define SMI_NVML(name, parameters) nvmlReturn_t(*name) parameters;
    SMI_NVML_FUNCTIONS
#undef SMI_NVML
    const char *(*nvmlErrorString)(nvmlReturn_t);
};

extern struct smi_nvml nvml;

/* Loads NVML and initializes it; false after a message on stderr. */
bool smi_load(void);

/* The processes of a card; returns their number, at most `room`. */
unsigned smi_processes(nvmlDevice_t device, nvmlProcessInfo_v3_t *out, unsigned room);

/* The three outputs for the given cards; each returns the exit code. */
int smi_table(const nvmlDevice_t *devices, unsigned count);
int smi_list(const nvmlDevice_t *devices, unsigned count);
int smi_query(const nvmlDevice_t *devices, unsigned count, const char *fields, const char *format);
int smi_query_apps(const nvmlDevice_t *devices, unsigned count, const char *fields, const char *format);
