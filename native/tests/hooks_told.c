/* What is told of the share: it looks like the card, and its processes are all there are. */
#include "hooks.h"

#define TELLS(symbol, type, expected, ...)                                                                   \
    void probe_##symbol(void);                                                                               \
    void probe_##symbol(void) {                                                                              \
        type told, more;                                                                                     \
        (void)more;                                                                                          \
        CHECK_IT(CALL(symbol)(__VA_ARGS__) == 0 && (expected));                                              \
    }
TELLS(cuMemGetInfo_v2, size_t, more == limit && told == limit - counted(), &told, &more)
TELLS(cuMemGetInfo, unsigned, more == limit && told == limit - counted(), &told, &more)
TELLS(cuDeviceTotalMem_v2, size_t, told == limit, &told, 0)
TELLS(cuDeviceTotalMem, unsigned, told == limit, &told, 0)
TELLS(nvmlDeviceGetMemoryInfo, nvmlMemory_t, told.total == limit && told.used == counted(), card, &told)
TELLS(nvmlDeviceGetMemoryInfo_v2, nvmlMemory_v2_t, told.total == limit && told.used == counted(), card,
      (told.version = NVML_MEMORY_V2, &told))

/* The processes that compute: this one, which holds what is counted; of other kinds there are none. */
#define LISTS(symbol, type, expected)                                                                        \
    void probe_##symbol(void);                                                                               \
    void probe_##symbol(void) {                                                                              \
        type infos[8] = {0};                                                                                 \
        unsigned count = 8;                                                                                  \
        CHECK_IT(CALL(symbol)(card, &count, infos) == NVML_SUCCESS && count == (expected));                  \
        if (count) CHECK_IT(infos[0].pid == (unsigned)getpid() && infos[0].usedGpuMemory == counted());      \
    }
LISTS(nvmlDeviceGetComputeRunningProcesses, nvmlProcessInfo_v1_t, 1)
LISTS(nvmlDeviceGetComputeRunningProcesses_v2, nvmlProcessInfo_v2_t, 1)
LISTS(nvmlDeviceGetComputeRunningProcesses_v3, nvmlProcessInfo_v3_t, 1)
LISTS(nvmlDeviceGetGraphicsRunningProcesses, nvmlProcessInfo_v1_t, 0)
LISTS(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlProcessInfo_v2_t, 0)
LISTS(nvmlDeviceGetGraphicsRunningProcesses_v3, nvmlProcessInfo_v3_t, 0)
LISTS(nvmlDeviceGetMPSComputeRunningProcesses, nvmlProcessInfo_v1_t, 0)
LISTS(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvmlProcessInfo_v2_t, 0)
LISTS(nvmlDeviceGetMPSComputeRunningProcesses_v3, nvmlProcessInfo_v3_t, 0)
