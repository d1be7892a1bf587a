/* Physical memory of the VMM interface: mapped, held by descriptors, bound to multicast objects. */
#include "storm.h"

static void free_mapping(struct held *h) {
    well(cuMemUnmap(h->a, h->b));
    well(cuMemAddressFree(h->a, h->b));
}
/* As most programs do it: two pieces in one range, each handle released as soon as it is mapped. */
void mapping(struct held *h) {
    CUmemAllocationProp props = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemGenericAllocationHandle handle, again;
    size_t size = random_pages(), mapped = 0;
    well(cuMemAddressReserve(&h->a, 2 * size, 0, 0, 0));
    for (; mapped < 2 * size && granted(cuMemCreate(&handle, size, &props, 0)); mapped += size) {
        well(cuMemMap(h->a + mapped, size, 0, handle, 0));
        well(cuMemRetainAllocationHandle(&again, (void *)(h->a + mapped + size / 2)));
        well(cuMemRelease(handle));
        well(cuMemRelease(again));
    }
    h->b = 2 * size;
    h->free = free_mapping;
    if (mapped) return;
    well(cuMemAddressFree(h->a, h->b));
    h->free = NULL;
}

/* The descriptor holds it, and in one of two cases a handle that was imported where it was made. */
static void free_exported(struct held *h) {
    bool closed_first = random_below(2);
    if (closed_first) close((int)h->a);
    if (h->b) well(cuMemRelease(h->b));
    if (!closed_first) close((int)h->a);
}
void exported(struct held *h) {
    CUmemAllocationProp props = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                 .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemGenericAllocationHandle handle;
    int descriptor;
    if (!granted(cuMemCreate(&handle, random_pages(), &props, 0))) return;
    if (cuMemExport(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0) == CUDA_SUCCESS) {
        h->a = (unsigned long long)descriptor;
        h->b = 0;
        h->free = free_exported;
        if (random_below(2))
            well(cuMemImport(&h->b, (void *)(intptr_t)descriptor, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
    }
    well(cuMemRelease(handle));
}

/* The object holds what is bound to it, until it is unbound or the object ends. */
static void free_multicast(struct held *h) {
    if (random_below(2)) well(cuMulticastUnbind(h->a, 0, 0, h->b));
    well(cuMemRelease(h->a));
}
static CUresult bind_mapped(CUmemGenericAllocationHandle object, CUmemGenericAllocationHandle memory,
                            size_t size) {
    CUdeviceptr range;
    well(cuMemAddressReserve(&range, size, 0, 0, 0));
    well(cuMemMap(range, size, 0, memory, 0));
    CUresult result = cuMulticastBindAddr(object, 0, 0, range, size, 0);
    well(cuMemUnmap(range, size));
    well(cuMemAddressFree(range, size));
    return result;
}
void multicast(struct held *h) {
    CUmemAllocationProp props = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmulticastObjectProp team = {.numDevices = 1, .size = random_pages()};
    CUmemGenericAllocationHandle memory;
    int can;
    well(cuDeviceGetAttribute(&can, CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED, 0));
    if (!can || !granted(cuMulticastCreate(&h->a, &team))) return;
    well(cuMulticastAddDevice(h->a, 0));
    h->b = team.size;
    if (granted(cuMemCreate(&memory, team.size, &props, 0))) {
        if (granted(random_below(2) ? bind_mapped(h->a, memory, team.size)
                                    : cuMulticastBindMem(h->a, 0, memory, 0, team.size, 0)))
            h->free = free_multicast;
        well(cuMemRelease(memory));
    }
    if (!h->free) well(cuMemRelease(h->a));
}

void look_at_descriptors(void) {
    CUmemAllocationProp props = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemGenericAllocationHandle handle;
    for (int tries = 0; tries < 100; tries++) { /* one may fail on purpose, a wrong limiter refuse them all */
        if (granted(cuMemCreate(&handle, 2 * MIB, &props, 0))) {
            well(cuMemRelease(handle));
            return;
        }
    }
}
