/* What a card is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_core.h"

#define ENTER_DEVICE(device, condition)                                                                      \
    CUDA_ENTER(condition);                                                                                   \
    struct cuda_device *d = cuda_device(device);                                                             \
    if (!d) return CUDA_ERROR_INVALID_DEVICE

CUDA_API CUresult cuDeviceGetCount(int *count) {
    CUDA_ENTER(count);
    *count = cuda.devices;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    ENTER_DEVICE(ordinal, device);
    *device = (CUdevice)(d - cuda.device);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
    ENTER_DEVICE(device, name && length > 0);
    snprintf(name, (size_t)length, "%s", d->gpu->product);
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
    ENTER_DEVICE(device, uuid);
    const char *text = d->gpu->uuid + strlen("GPU-");
    for (int i = 0; i < 16; i++) {
        if (*text == '-') text++;
        uuid->bytes[i] = (char)strtol((char[]){text[0], text[1], '\0'}, NULL, 16);
        text += 2;
    }
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }

CUDA_API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    ENTER_DEVICE(device, bytes);
    *bytes = d->gpu->memory;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuDeviceTotalMem(unsigned *bytes, CUdevice device) { /* 32 bits: before CUDA 3.2 */
    ENTER_DEVICE(device, bytes);
    *bytes = d->gpu->memory > UINT32_MAX ? UINT32_MAX : (unsigned)d->gpu->memory;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
    ENTER_DEVICE(device, major && minor);
    *major = (int)d->gpu->cc_major, *minor = (int)d->gpu->cc_minor;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *bus_id) {
    CUDA_ENTER(device && bus_id);
    const struct sim_gpu *gpu = sim_gpu_by_bus_id(cuda.node, bus_id);
    for (int i = 0; i < cuda.devices; i++)
        if (cuda.device[i].gpu == gpu) {
            *device = i;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_DEVICE;
}
CUDA_API CUresult cuDeviceGetPCIBusId(char *bus_id, int length, CUdevice device) {
    ENTER_DEVICE(device, bus_id && length > 0);
    sim_bus_id(d->gpu, 4, bus_id, (size_t)length);
    return CUDA_SUCCESS;
}

static int attribute(const struct sim_gpu *gpu, CUdevice_attribute which) {
    switch (which) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
        return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
        return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
        return 0x7fffffff;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
        return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        return 49152;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
        return 102400;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
        return 65536;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
        return 32;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
        return 1695000;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
        return 6251000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
        return 384;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
        return 6 << 20;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
        return 512;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        return (int)gpu->multiprocessors;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
        return SIM_THREADS;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
        return 16;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
        return 2;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
        return (int)gpu->pci_bus;
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
        return (int)gpu->pci_device;
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
        return (int)gpu->pci_domain;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        return (int)gpu->cc_major;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        return (int)gpu->cc_minor;
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_ECC_ENABLED:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
        return 1;
    case CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED:
        return gpu->cc_major >= 9; /* the cards that have it; whether a switch joins them is not asked */
    default:
        return 0; /* a property that the simulated card does not have */
    }
}

CUDA_API CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice device) {
    ENTER_DEVICE(device, value && which > 0 && (int)which < 200);
    *value = attribute(d->gpu, which);
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer) {
    ENTER_DEVICE(device, can && cuda_device(peer));
    (void)d;
    *can = device != peer;
    return CUDA_SUCCESS;
}
