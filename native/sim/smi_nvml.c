#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "smi.h"

struct smi_nvml nvml;

/* By name as the real program; then beside this program, which helps in a build folder. */
static void *open_library(void) {
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    char path[PATH_MAX + 32];
    ssize_t length = library ? 0 : readlink("/proc/self/exe", path, PATH_MAX);
    if (length <= 0) return library;
    path[length] = '\0';
    strcpy(strrchr(path, '/') + 1, "libnvidia-ml.so.1");
    return dlopen(path, RTLD_NOW);
}

static bool find(void *library, const char *name, void *out) {
    void *address = dlsym(library, name);
    if (!address)
        fprintf(stderr, "nvidia-smi: libnvidia-ml.so.1 has no %s; install a newer driver library\n", name);
    memcpy(out, &address, sizeof address);
    return address != NULL;
}

bool smi_load(void) {
    void *library = open_library();
    if (!library) {
        fprintf(stderr, "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure "
                        "that the NVIDIA "
                        "Display Driver is properly installed and present in your system.\n");
        return false;
    }
#define SMI_NVML(name, parameters) find(library, #name, &nvml.name) &&
    if (!(SMI_NVML_FUNCTIONS find(library, "nvmlErrorString", &nvml.nvmlErrorString))) return false;
#undef SMI_NVML
    nvmlReturn_t result = nvml.nvmlInit_v2();
    if (result == NVML_ERROR_DRIVER_NOT_LOADED)
        fprintf(stderr, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make "
                        "sure that the "
                        "latest NVIDIA driver is installed and running.\n");
    else if (result != NVML_SUCCESS)
        fprintf(stderr, "Failed to initialize NVML: %s\n", nvml.nvmlErrorString(result));
    return result == NVML_SUCCESS;
}

unsigned smi_processes(nvmlDevice_t device, nvmlProcessInfo_v3_t *out, unsigned room) {
    unsigned count = room;
    return nvml.nvmlDeviceGetComputeRunningProcesses_v3(device, &count, out) == NVML_SUCCESS ? count : 0;
}
