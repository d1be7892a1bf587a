/* Which cards there are and what they are. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "mig_instances.h"
#include "nvml_core.h"

static nvmlReturn_t handle_of(struct sim_gpu *gpu, nvmlDevice_t *device) {
    if (!gpu) return NVML_ERROR_NOT_FOUND;
    if (sim_fault_lost(gpu)) return NVML_ERROR_GPU_IS_LOST;
    *device = (nvmlDevice_t)(void *)gpu;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    struct sim_node *node = nvml_node();
    if (!node) return NVML_ERROR_UNINITIALIZED;
    if (!count) return NVML_ERROR_INVALID_ARGUMENT;
    *count = (unsigned)node->config.gpus;
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlDeviceGetCount(unsigned *count) { return nvmlDeviceGetCount_v2(count); }

NVML_API nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    struct sim_node *node = nvml_node();
    if (!node) return NVML_ERROR_UNINITIALIZED;
    if (!device || index >= (unsigned)node->config.gpus) return NVML_ERROR_INVALID_ARGUMENT;
    return handle_of(&node->config.gpu[index], device);
}
NVML_API nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned index, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

/* The card whose text member at `offset` is `text`. */
static nvmlReturn_t by_text(const char *text, size_t offset, nvmlDevice_t *device) {
    struct sim_node *node = nvml_node();
    if (!node) return NVML_ERROR_UNINITIALIZED;
    if (!text || !*text || !device) return NVML_ERROR_INVALID_ARGUMENT;
    for (int i = 0; i < node->config.gpus; i++)
        if (strcasecmp((char *)&node->config.gpu[i] + offset, text) == 0)
            return handle_of(&node->config.gpu[i], device);
    return NVML_ERROR_NOT_FOUND;
}

NVML_API nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    struct sim_gpu *instance = nvml_node() && uuid ? mig_instance_of_uuid(uuid) : NULL;
    if (instance && device) return handle_of(instance, device);
    return by_text(uuid, offsetof(struct sim_gpu, uuid), device);
}
NVML_API nvmlReturn_t nvmlDeviceGetHandleBySerial(const char *serial, nvmlDevice_t *device) {
    return by_text(serial, offsetof(struct sim_gpu, serial), device);
}
NVML_API nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device) {
    struct sim_node *node = nvml_node();
    if (!node) return NVML_ERROR_UNINITIALIZED;
    if (!bus_id || !device) return NVML_ERROR_INVALID_ARGUMENT;
    return handle_of(sim_gpu_by_bus_id(node, bus_id), device);
}
NVML_API nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *bus_id, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByPciBusId_v2(bus_id, device);
}

NVML_API nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    NVML_ENTER(device, name);
    return nvml_copy(name, length, gpu->product);
}
NVML_API nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length) {
    NVML_ENTER(device, uuid);
    return nvml_copy(uuid, length, gpu->uuid);
}
NVML_API nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t device, char *serial, unsigned length) {
    NVML_ENTER(device, serial);
    return gpu->serial[0] ? nvml_copy(serial, length, gpu->serial) : NVML_ERROR_NOT_SUPPORTED;
}
NVML_API nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned *minor) {
    NVML_ENTER(device, minor);
    *minor = (unsigned)gpu->minor;
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned *index) {
    NVML_ENTER(device, index);
    *index = (unsigned)(gpu - nvml_node()->config.gpu);
    return NVML_SUCCESS;
}

struct name_value {
    const char *name;
    unsigned value;
};

static unsigned value_of(const struct name_value *table, const char *name, unsigned otherwise) {
    for (; table->name; table++)
        if (strcasecmp(table->name, name) == 0) return table->value;
    return otherwise;
}

NVML_API nvmlReturn_t nvmlDeviceGetBrand(nvmlDevice_t device, nvmlBrandType_t *brand) {
    static const struct name_value brands[] = {{"Nvidia", NVML_BRAND_NVIDIA},
                                               {"Tesla", NVML_BRAND_TESLA},
                                               {"Quadro", NVML_BRAND_QUADRO},
                                               {"GeForce", NVML_BRAND_GEFORCE},
                                               {"Titan", NVML_BRAND_TITAN},
                                               {"QuadroRTX", NVML_BRAND_QUADRO_RTX},
                                               {"NvidiaRTX", NVML_BRAND_NVIDIA_RTX},
                                               {"GeForceRTX", NVML_BRAND_GEFORCE_RTX},
                                               {"Grid", NVML_BRAND_GRID},
                                               {"NVS", NVML_BRAND_NVS},
                                               {NULL, 0}};
    NVML_ENTER(device, brand);
    *brand = value_of(brands, gpu->brand, NVML_BRAND_UNKNOWN);
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, nvmlDeviceArchitecture_t *architecture) {
    static const struct name_value architectures[] = {{"Kepler", NVML_DEVICE_ARCH_KEPLER},
                                                      {"Maxwell", NVML_DEVICE_ARCH_MAXWELL},
                                                      {"Pascal", NVML_DEVICE_ARCH_PASCAL},
                                                      {"Volta", NVML_DEVICE_ARCH_VOLTA},
                                                      {"Turing", NVML_DEVICE_ARCH_TURING},
                                                      {"Ampere", NVML_DEVICE_ARCH_AMPERE},
                                                      {"Ada", NVML_DEVICE_ARCH_ADA},
                                                      {"Hopper", NVML_DEVICE_ARCH_HOPPER},
                                                      {"Blackwell", NVML_DEVICE_ARCH_BLACKWELL},
                                                      {NULL, 0}};
    NVML_ENTER(device, architecture);
    *architecture = value_of(architectures, gpu->architecture, 0xffffffff);
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    NVML_ENTER(device, major && minor);
    *major = (int)gpu->cc_major, *minor = (int)gpu->cc_minor;
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlDeviceGetNumaNodeId(nvmlDevice_t device, unsigned *node) {
    NVML_ENTER(device, node);
    if (gpu->numa_node < 0) return NVML_ERROR_NOT_SUPPORTED;
    *node = (unsigned)gpu->numa_node;
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlDeviceGetMemoryAffinity(nvmlDevice_t device, unsigned words, unsigned long *set,
                                                  unsigned scope) {
    (void)scope;
    NVML_ENTER(device, set && words);
    memset(set, 0, words * sizeof *set);
    unsigned node = gpu->numa_node < 0 ? 0 : (unsigned)gpu->numa_node, bits = 8 * sizeof *set;
    if (node / bits >= words) return NVML_ERROR_INSUFFICIENT_SIZE;
    set[node / bits] = 1UL << node % bits;
    return NVML_SUCCESS;
}

NVML_API nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    NVML_ENTER(device, pci);
    *pci = (nvmlPciInfo_t){
        .domain = gpu->pci_domain, .bus = gpu->pci_bus, .device = gpu->pci_device, .pciDeviceId = 0x10DE};
    sim_bus_id(gpu, 4, pci->busIdLegacy, sizeof pci->busIdLegacy);
    sim_bus_id(gpu, 8, pci->busId, sizeof pci->busId);
    return NVML_SUCCESS;
}
NVML_API nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    return nvmlDeviceGetPciInfo_v3(device, pci);
}

NVML_API nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t device, nvmlDevice_t other,
                                                          unsigned *level) {
    NVML_ENTER(device, level);
    struct sim_gpu *second = nvml_gpu(other);
    if (!second) return NVML_ERROR_INVALID_ARGUMENT;
    if (gpu == second)
        *level = NVML_TOPOLOGY_INTERNAL;
    else if (strcmp(gpu->pcie_root, second->pcie_root) == 0)
        *level = NVML_TOPOLOGY_HOSTBRIDGE;
    else
        *level = gpu->numa_node == second->numa_node ? NVML_TOPOLOGY_NODE : NVML_TOPOLOGY_SYSTEM;
    return NVML_SUCCESS;
}
