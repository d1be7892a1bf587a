/* Initialization, errors and what concerns the whole system. */
#include "nvml_core.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "mig_instances.h"

static _Atomic int users;

struct sim_node *nvml_node(void) { return users > 0 ? sim_node() : NULL; }

struct sim_gpu *nvml_gpu(nvmlDevice_t device) {
    struct sim_node *node = nvml_node();
    struct sim_gpu *gpu = (struct sim_gpu *)(void *)device;
    for (int i = 0; node && i < node->config.gpus; i++)
        if (gpu == &node->config.gpu[i]) return gpu;
    return node && mig_is_instance(gpu) ? gpu : NULL;
}

nvmlReturn_t nvml_bad_device(void) {
    return nvml_node() ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_UNINITIALIZED;
}

nvmlReturn_t nvml_copy(char *out, unsigned size, const char *text) {
    if (!out) return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) >= size) return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(out, text);
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!sim_node()) return NVML_ERROR_DRIVER_NOT_LOADED;
    users++;
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
NVML_API nvmlReturn_t nvmlInit(void) { return nvmlInitWithFlags(0); }

NVML_API nvmlReturn_t nvmlShutdown(void) {
    if (users <= 0) return NVML_ERROR_UNINITIALIZED;
    users--;
    return NVML_SUCCESS;
}

NVML_API const char *nvmlErrorString(nvmlReturn_t result) {
    switch (result) {
#define NVML_RESULT(name, value, text)                                                                       \
    case NVML_##name:                                                                                        \
        return text;
#include "nvml_errors.def"
#undef NVML_RESULT
    }
    return "Unknown Error";
}

NVML_API nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
    struct sim_node *node = nvml_node();
    return node ? nvml_copy(version, length, node->config.driver_version) : NVML_ERROR_UNINITIALIZED;
}

/* NVML's own version is "<CUDA major>." before the driver's. */
NVML_API nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned length) {
    struct sim_node *node = nvml_node();
    char text[NVML_SYSTEM_NVML_VERSION_BUFFER_SIZE + 16];
    if (!node) return NVML_ERROR_UNINITIALIZED;
    snprintf(text, sizeof text, "%u.%s", node->config.cuda_version / 1000, node->config.driver_version);
    return nvml_copy(version, length, text);
}

NVML_API nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
    struct sim_node *node = sim_node(); /* works without nvmlInit, as the real one */
    if (!version) return NVML_ERROR_INVALID_ARGUMENT;
    if (!node) return NVML_ERROR_LIBRARY_NOT_FOUND;
    *version = (int)node->config.cuda_version;
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

NVML_API nvmlReturn_t nvmlSystemGetProcessName(unsigned pid, char *name, unsigned length) {
    char path[64], text[256];
    if (!nvml_node()) return NVML_ERROR_UNINITIALIZED;
    if (!name || length == 0) return NVML_ERROR_INVALID_ARGUMENT;
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    FILE *file = fopen(path, "re");
    if (!file) return NVML_ERROR_NOT_FOUND;
    size_t got = fread(text, 1, sizeof text - 1, file); /* the first argument ends with a NUL */
    fclose(file);
    text[got] = '\0';
    if (got == 0) return NVML_ERROR_NOT_FOUND;
    snprintf(name, length, "%s", text);
    return NVML_SUCCESS;
}
