/* Physical memory to be mapped (VMM): counted by the card that it lies on, until its last handle, mapping and
 * descriptor. */
#include "allocation.h"
#include "failpoint.h"
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
        physical_created(*handle, properties->location.id & 0xff, self.own.card, &self.own.taken);
    else
        budget_refund(self.own.card, &self.own.taken);
    return result;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    cuMemRelease_type real = REAL(cuMemRelease);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    physical *used = physical_use(handle);
    CUresult result = real(handle);
    if (result == CUDA_SUCCESS)
        physical_released(handle, used);
    else
        physical_let_go(used);
    return result;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address) {
    cuMemRetainAllocationHandle_type real = REAL(cuMemRetainAllocationHandle);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    physical *used = physical_use_at((uint64_t)address);
    CUresult result = real(handle, address);
    if (result == CUDA_SUCCESS)
        physical_add_handle(*handle, used);
    else
        physical_let_go(used);
    return result;
}

CUresult cuMemMap(CUdeviceptr pointer, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
    cuMemMap_type real = REAL(cuMemMap);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    physical *used = physical_use(handle);
    CUresult result = real(pointer, size, offset, handle, flags);
    if (result == CUDA_SUCCESS && !WRONG(REFUND_MAPPED))
        physical_mapped(pointer, size, used);
    else
        physical_let_go(used);
    return result;
}

CUresult cuMemUnmap(CUdeviceptr pointer, size_t size) {
    cuMemUnmap_type real = REAL(cuMemUnmap);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    uint64_t moment = physical_moment();
    CUresult result = real(pointer, size);
    if (result == CUDA_SUCCESS) physical_unmapped(pointer, size, moment);
    return result;
}

/* What a handle of this type is: a descriptor, or -1 and something else. */
static int descriptor_of(CUmemAllocationHandleType type, int descriptor) {
    return type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR ? descriptor : -1;
}

CUresult cuMemExportToShareableHandle(void *out, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType type, unsigned long long flags) {
    cuMemExportToShareableHandle_type real = REAL(cuMemExportToShareableHandle);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    physical *used = physical_use(handle);
    CUresult result = real(out, handle, type, flags);
    if (result == CUDA_SUCCESS && !WRONG(REFUND_EXPORTED))
        physical_exported(used, descriptor_of(type, *(int *)out));
    physical_let_go(used);
    return result;
}

/* The descriptor itself stands in the place of a pointer. */
CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *from,
                                        CUmemAllocationHandleType type) {
    cuMemImportFromShareableHandle_type real = REAL(cuMemImportFromShareableHandle);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(handle, from, type);
    if (result == CUDA_SUCCESS) physical_imported(*handle, descriptor_of(type, (int)(intptr_t)from));
    return result;
}
