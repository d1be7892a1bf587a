/*
 * Managed memory whose preferred place is the host: the card works on it over the bus, and none of its own
 * memory is taken. It needs a card that may touch managed memory while the host does (Pascal and newer, not
 * WSL).
 */
#include "hook_host.h"

#include "hook_memory.h"

static bool card_reaches_host(CUdevice device) {
    CUresult (*get)(int *, CUdevice_attribute, CUdevice) = driver_function("cuDeviceGetAttribute");
    int can = 0;
    return get && get(&can, CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, device) == CUDA_SUCCESS && can;
}

/* The first form of cuMemAdvise, which every driver has: it takes a device number. */
static void keep_on_host(CUdeviceptr pointer, size_t size, CUdevice device) {
    CUresult (*advise)(CUdeviceptr, size_t, int, CUdevice) = driver_function("cuMemAdvise");
    if (!advise) return;
    advise(pointer, size, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, CU_DEVICE_CPU);
    advise(pointer, size, CU_MEM_ADVISE_SET_ACCESSED_BY, device);
}

CUresult host_serve(CUresult refusal, CUdeviceptr *pointer, size_t size) {
    request self = request_in_context();
    if (self.state != CARD_LIMITED || !budget_oversubscribes(self.own.card)) return refusal;
    CUresult (*get_device)(CUdevice *) = driver_function("cuCtxGetDevice");
    cuMemAllocManaged_type real = REAL(cuMemAllocManaged);
    CUdevice device;
    if (!real || !get_device || get_device(&device) != CUDA_SUCCESS || !card_reaches_host(device))
        return refusal;
    if (real(pointer, size, CU_MEM_ATTACH_HOST) != CUDA_SUCCESS) return refusal;
    keep_on_host(*pointer, size, device);
    charges_put(CHARGE_HOST_SERVED, *pointer, &self.own);
    return CUDA_SUCCESS;
}

bool host_served(CUdeviceptr pointer) { return hold(CHARGE_HOST_SERVED, pointer).found; }
