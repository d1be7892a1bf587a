/*
 * Multicast objects: a team of cards, each with memory that is bound to it. The object takes no memory; what
 * is bound it holds until that is unbound, or the object's last handle, mapping and descriptor in any process
 * is gone. What is written through it reaches nobody, as no contents are shared.
 */
#include <stdlib.h>
#include <unistd.h>

#include "cuda_vmm.h"

/* What this process bound. */
struct binding {
    struct sim_piece object, memory;
    CUdevice device;
    size_t offset, size;
    struct binding *next;
};
static struct binding *bindings; /* guarded by cuda_vmm_mutex */

CUDA_API CUresult cuMulticastGetGranularity(size_t *granularity, const CUmulticastObjectProp *prop,
                                            CUmulticastGranularity_flags option) {
    CUDA_ENTER(granularity && prop && prop->numDevices);
    *granularity = option == CU_MULTICAST_GRANULARITY_RECOMMENDED ? (size_t)512 << 20 : CUDA_GRANULARITY;
    return CUDA_SUCCESS;
}

static bool is_supported(CUdevice device) { return cuda.device[device].gpu->cc_major >= 9; }

CUDA_API CUresult cuMulticastCreate(CUmemGenericAllocationHandle *handle, const CUmulticastObjectProp *prop) {
    CUDA_ENTER(handle && prop && prop->numDevices && prop->flags == 0 && prop->size &&
               prop->size % CUDA_GRANULARITY == 0);
    if (!is_supported(0)) return CUDA_ERROR_NOT_SUPPORTED;
    struct cuda_physical what = {
        .prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                 .requestedHandleTypes = (CUmemAllocationHandleType)prop->handleTypes},
        .size = prop->size,
        .shared = true,
        .multicast = true};
    if (!sim_multicast_make(cuda.node->state, cuda.slot, prop->size, prop->numDevices, &what.piece))
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct cuda_physical *object = cuda_physical_new(what);
    if (!object) return CUDA_ERROR_OUT_OF_MEMORY;
    *handle = (uintptr_t)object;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMulticastAddDevice(CUmemGenericAllocationHandle handle, CUdevice device) {
    const struct cuda_physical *object = cuda_physical_of(handle);
    CUDA_ENTER(object && object->multicast);
    if (!cuda_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    if (!is_supported(device)) return CUDA_ERROR_NOT_SUPPORTED;
    return sim_multicast_add(cuda.node->state, object->piece, cuda.device[device].gpu->card)
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
}

/* Waits for the rest of the team, as the real one does; whether the card belongs to it. */
static bool joined(const struct cuda_physical *object, CUdevice device) {
    bool member;
    while (!sim_multicast_complete(cuda.node->state, object->piece, cuda.device[device].gpu->card, &member))
        usleep(1000);
    return member;
}

/* Under cuda_vmm_mutex. */
static CUresult bind(const struct cuda_physical *object, CUdevice device, size_t offset,
                     struct cuda_physical *memory, size_t size) {
    struct binding *made = malloc(sizeof *made);
    if (!made || !cuda_physical_share(memory)) {
        free(made);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *made = (struct binding){object->piece, memory->piece, device, offset, size, bindings};
    bindings = made;
    sim_multicast_bind(cuda.node->state, object->piece, memory->piece, true);
    return CUDA_SUCCESS;
}

static bool fits(uint64_t offset, uint64_t size, uint64_t all) {
    return offset % CUDA_GRANULARITY == 0 && size && size % CUDA_GRANULARITY == 0 && offset <= all &&
           size <= all - offset;
}

/* Without a card, -1, the memory's own. */
static CUresult bind_memory(CUmemGenericAllocationHandle handle, CUdevice device, size_t offset,
                            CUmemGenericAllocationHandle memory_handle, size_t memory_offset, size_t size,
                            unsigned long long flags) {
    const struct cuda_physical *object = cuda_physical_of(handle);
    struct cuda_physical *memory = cuda_physical_of(memory_handle);
    CUDA_ENTER(object && object->multicast && memory && !memory->multicast && flags == 0 &&
               memory->prop.location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
               fits(offset, size, object->size) && fits(memory_offset, size, memory->size));
    if (device < 0) device = memory->prop.location.id;
    if (!cuda_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    if (!joined(object, device)) return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&cuda_vmm_mutex);
    CUresult result = bind(object, device, offset, memory, size);
    pthread_mutex_unlock(&cuda_vmm_mutex);
    return result;
}

CUDA_API CUresult cuMulticastBindMem(CUmemGenericAllocationHandle handle, size_t offset,
                                     CUmemGenericAllocationHandle memory, size_t memory_offset, size_t size,
                                     unsigned long long flags) {
    return bind_memory(handle, -1, offset, memory, memory_offset, size, flags);
}

CUDA_API CUresult cuMulticastBindMem_v2(CUmemGenericAllocationHandle handle, CUdevice device, size_t offset,
                                        CUmemGenericAllocationHandle memory, size_t memory_offset,
                                        size_t size, unsigned long long flags) {
    if (device < 0) return CUDA_ERROR_INVALID_DEVICE;
    return bind_memory(handle, device, offset, memory, memory_offset, size, flags);
}

/* What is mapped there; memory of pools, which the real one takes too, is not simulated. */
static CUresult bind_address(CUmemGenericAllocationHandle handle, CUdevice device, size_t offset,
                             CUdeviceptr address, size_t size, unsigned long long flags) {
    CUDA_ENTER(handle && address);
    uint64_t memory_offset;
    pthread_mutex_lock(&cuda_vmm_mutex);
    const struct cuda_physical *memory = cuda_physical_at(address, &memory_offset);
    pthread_mutex_unlock(&cuda_vmm_mutex);
    if (!memory) return CUDA_ERROR_INVALID_VALUE;
    return bind_memory(handle, device, offset, (uintptr_t)memory, memory_offset, size, flags);
}

CUDA_API CUresult cuMulticastBindAddr(CUmemGenericAllocationHandle handle, size_t offset, CUdeviceptr address,
                                      size_t size, unsigned long long flags) {
    return bind_address(handle, -1, offset, address, size, flags);
}

CUDA_API CUresult cuMulticastBindAddr_v2(CUmemGenericAllocationHandle handle, CUdevice device, size_t offset,
                                         CUdeviceptr address, size_t size, unsigned long long flags) {
    if (device < 0) return CUDA_ERROR_INVALID_DEVICE;
    return bind_address(handle, device, offset, address, size, flags);
}

static bool same(struct sim_piece a, struct sim_piece b) {
    return a.place == b.place && a.number == b.number;
}

/* Takes one of this process's bindings out; the memory is free of the object with its last one. */
static bool unbind(const struct cuda_physical *object, CUdevice device, size_t offset, size_t size) {
    struct binding **at = &bindings;
    while (*at && !(same((*at)->object, object->piece) && (*at)->device == device &&
                    (*at)->offset == offset && (*at)->size == size))
        at = &(*at)->next;
    struct binding *gone = *at;
    if (!gone) return false;
    *at = gone->next;
    bool still = false;
    for (const struct binding *each = bindings; each && !still; each = each->next)
        still = same(each->object, gone->object) && same(each->memory, gone->memory);
    if (!still) sim_multicast_bind(cuda.node->state, gone->object, gone->memory, false);
    free(gone);
    return true;
}

CUDA_API CUresult cuMulticastUnbind(CUmemGenericAllocationHandle handle, CUdevice device, size_t offset,
                                    size_t size) {
    const struct cuda_physical *object = cuda_physical_of(handle);
    CUDA_ENTER(object && object->multicast && size);
    pthread_mutex_lock(&cuda_vmm_mutex);
    bool found = unbind(object, device, offset, size);
    pthread_mutex_unlock(&cuda_vmm_mutex);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
