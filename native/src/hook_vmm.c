/* Physical memory to be mapped (VMM): counted by the card that it lies on, until its last handle and mapping.
 */
#include "failpoint.h"
#include "hook_memory.h"
#include "physical.h"

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *properties,
                     unsigned long long flags) {
    cuMemCreate_type real = REAL(cuMemCreate);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    request self = request_at(properties ? &properties->location : NULL);
    if (!ask(&self, handle ? size : 0)) return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = real(handle, size, properties, flags);
    if (self.state != CARD_LIMITED || charge_bytes(&self.own.taken) == 0) return result;
    if (result == CUDA_SUCCESS)
        physical_created(*handle, self.own.card, &self.own.taken);
    else
        budget_refund(self.own.card, &self.own.taken);
    return result;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    cuMemRelease_type real = REAL(cuMemRelease);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    physical *held = physical_hold(handle);
    CUresult result = real(handle);
    if (result == CUDA_SUCCESS)
        physical_let_go(held);
    else
        physical_put_back(handle, held);
    return result;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address) {
    cuMemRetainAllocationHandle_type real = REAL(cuMemRetainAllocationHandle);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(handle, address);
    if (result == CUDA_SUCCESS) physical_retained(*handle, (uint64_t)address);
    return result;
}

CUresult cuMemMap(CUdeviceptr pointer, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
    cuMemMap_type real = REAL(cuMemMap);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(pointer, size, offset, handle, flags);
    if (result == CUDA_SUCCESS && !WRONG(REFUND_MAPPED)) physical_mapped(pointer, size, handle);
    return result;
}

CUresult cuMemUnmap(CUdeviceptr pointer, size_t size) {
    cuMemUnmap_type real = REAL(cuMemUnmap);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(pointer, size);
    if (result == CUDA_SUCCESS) physical_unmapped(pointer, size);
    return result;
}
