/* Multicast objects: they take no memory of a card, and hold what is bound to them. Memory of pools that is
 * bound is not followed: it is charged as long as its pool has it. */
#include "cards.h"
#include "failpoint.h"
#include "physical.h"

CUresult cuMulticastCreate(CUmemGenericAllocationHandle *object, const CUmulticastObjectProp *properties) {
    cuMulticastCreate_type real = REAL(cuMulticastCreate);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(object, properties);
    if (result == CUDA_SUCCESS && cards_are_limited()) physical_holder(*object);
    return result;
}

/* Body of the four that bind: after the driver's call, what holds what. */
#define BIND(symbol, bound, ...)                                                                             \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        CUresult result = real(__VA_ARGS__);                                                                 \
        if (result == CUDA_SUCCESS && !WRONG(REFUND_BOUND)) bound;                                           \
        return result;                                                                                       \
    } while (0)

CUresult cuMulticastBindMem(CUmemGenericAllocationHandle object, size_t offset,
                            CUmemGenericAllocationHandle memory, size_t memory_offset, size_t size,
                            unsigned long long flags) {
    BIND(cuMulticastBindMem, physical_bound(object, -1, offset, size, memory), object, offset, memory,
         memory_offset, size, flags);
}

CUresult cuMulticastBindMem_v2(CUmemGenericAllocationHandle object, CUdevice device, size_t offset,
                               CUmemGenericAllocationHandle memory, size_t memory_offset, size_t size,
                               unsigned long long flags) {
    BIND(cuMulticastBindMem_v2, physical_bound(object, device, offset, size, memory), object, device, offset,
         memory, memory_offset, size, flags);
}

CUresult cuMulticastBindAddr(CUmemGenericAllocationHandle object, size_t offset, CUdeviceptr address,
                             size_t size, unsigned long long flags) {
    BIND(cuMulticastBindAddr, physical_bound_at(object, -1, offset, size, address), object, offset, address,
         size, flags);
}

CUresult cuMulticastBindAddr_v2(CUmemGenericAllocationHandle object, CUdevice device, size_t offset,
                                CUdeviceptr address, size_t size, unsigned long long flags) {
    BIND(cuMulticastBindAddr_v2, physical_bound_at(object, device, offset, size, address), object, device,
         offset, address, size, flags);
}

CUresult cuMulticastUnbind(CUmemGenericAllocationHandle object, CUdevice device, size_t offset, size_t size) {
    cuMulticastUnbind_type real = REAL(cuMulticastUnbind);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    binding *bound = physical_unbind(object, device, offset, size);
    CUresult result = real(object, device, offset, size);
    if (result == CUDA_SUCCESS)
        physical_unbound(bound);
    else
        physical_bind_again(object, bound);
    return result;
}
