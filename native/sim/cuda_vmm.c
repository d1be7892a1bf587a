/* Virtual memory management: physical handles, address ranges, and mappings between them. */
#include <stdlib.h>
#include <sys/mman.h>

#include "cuda_vmm.h"
#include "exported.h"

struct mapping {
    CUdeviceptr start;
    size_t size;
    uint64_t offset;
    struct cuda_physical *physical;
    struct mapping *next;
};
static struct mapping *mappings; /* guarded by cuda_vmm_mutex, as the counts of references */
pthread_mutex_t cuda_vmm_mutex = PTHREAD_MUTEX_INITIALIZER;

static void end(const struct cuda_physical *p) {
    if (p->shared)
        cuda_let_go(p->piece);
    else if (p->prop.location.type == CU_MEM_LOCATION_TYPE_DEVICE)
        cuda_give(p->prop.location.id, p->size);
}

void cuda_physical_drop(struct cuda_physical *p) {
    if (--p->references > 0) return;
    end(p);
    free(p);
}

struct cuda_physical *cuda_physical_new(struct cuda_physical what) {
    struct cuda_physical *p = malloc(sizeof *p);
    what.references = 1;
    if (p)
        *p = what;
    else
        end(&what);
    return p;
}

bool cuda_physical_share(struct cuda_physical *self) {
    if (!self->shared) self->shared = cuda_share(self->prop.location.id, self->size, &self->piece);
    return self->shared;
}

static const struct mapping *mapping_at(CUdeviceptr address) {
    const struct mapping *m = mappings;
    while (m && (address < m->start || address >= m->start + m->size)) m = m->next;
    return m;
}

struct cuda_physical *cuda_physical_at(CUdeviceptr address, uint64_t *offset) {
    const struct mapping *m = mapping_at(address);
    if (m) *offset = m->offset + (address - m->start);
    return m ? m->physical : NULL;
}

CUDA_API CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
                                                int option) {
    (void)option;
    CUDA_ENTER(granularity && prop);
    *granularity = CUDA_GRANULARITY;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
                              const CUmemAllocationProp *prop, unsigned long long flags) {
    CUDA_ENTER(handle && prop && size && size % CUDA_GRANULARITY == 0 && flags == 0 &&
               prop->type == CU_MEM_ALLOCATION_TYPE_PINNED);
    bool on_device = prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    if (on_device && !cuda_device(prop->location.id)) return CUDA_ERROR_INVALID_DEVICE;
    if (on_device && cuda_take(prop->location.id, size) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
    struct cuda_physical *p = cuda_physical_new((struct cuda_physical){.prop = *prop, .size = size});
    if (!p) return CUDA_ERROR_OUT_OF_MEMORY;
    *handle = (uintptr_t)p;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    CUDA_ENTER(handle);
    pthread_mutex_lock(&cuda_vmm_mutex);
    cuda_physical_drop(cuda_physical_of(handle));
    pthread_mutex_unlock(&cuda_vmm_mutex);
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop,
                                                         CUmemGenericAllocationHandle handle) {
    CUDA_ENTER(prop && handle);
    *prop = cuda_physical_of(handle)->prop;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemAddressReserve(CUdeviceptr *pointer, size_t size, size_t alignment,
                                      CUdeviceptr address, unsigned long long flags) {
    (void)alignment, (void)address, (void)flags;
    CUDA_ENTER(pointer && size && size % CUDA_GRANULARITY == 0);
    void *start =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    *pointer = (uintptr_t)start;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuMemAddressFree(CUdeviceptr pointer, size_t size) {
    CUDA_ENTER(pointer && size);
    return munmap((void *)(uintptr_t)pointer, size) == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* The host memory of the address range stands for the contents; two mappings of one handle do not share it.
 */
CUDA_API CUresult cuMemMap(CUdeviceptr pointer, size_t size, size_t offset,
                           CUmemGenericAllocationHandle handle, unsigned long long flags) {
    struct cuda_physical *p = cuda_physical_of(handle);
    CUDA_ENTER(pointer && p && size && flags == 0 && offset <= p->size && size <= p->size - offset);
    struct mapping *m = malloc(sizeof *m);
    if (!m) return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&cuda_vmm_mutex);
    *m = (struct mapping){pointer, size, offset, p, mappings};
    mappings = m;
    p->references++;
    pthread_mutex_unlock(&cuda_vmm_mutex);
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemUnmap(CUdeviceptr pointer, size_t size) {
    CUDA_ENTER(pointer && size);
    bool found = false;
    pthread_mutex_lock(&cuda_vmm_mutex);
    for (struct mapping **at = &mappings; *at;) {
        struct mapping *m = *at;
        if (m->start < pointer || m->start + m->size > pointer + size) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        cuda_physical_drop(m->physical);
        free(m);
        found = true;
    }
    pthread_mutex_unlock(&cuda_vmm_mutex);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUDA_API CUresult cuMemSetAccess(CUdeviceptr pointer, size_t size, const CUmemAccessDesc *access,
                                 size_t count) {
    (void)count;
    CUDA_ENTER(pointer && size && access);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address) {
    CUDA_ENTER(handle);
    pthread_mutex_lock(&cuda_vmm_mutex);
    const struct mapping *m = mapping_at((uintptr_t)address);
    if (m) m->physical->references++;
    *handle = m ? (uintptr_t)m->physical : 0;
    pthread_mutex_unlock(&cuda_vmm_mutex);
    return *handle ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUDA_API CUresult cuMemExportToShareableHandle(void *out, CUmemGenericAllocationHandle handle,
                                               CUmemAllocationHandleType type, unsigned long long flags) {
    struct cuda_physical *p = cuda_physical_of(handle);
    CUDA_ENTER(out && p && flags == 0 && type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR &&
               p->prop.requestedHandleTypes & type &&
               (p->multicast || p->prop.location.type == CU_MEM_LOCATION_TYPE_DEVICE));
    pthread_mutex_lock(&cuda_vmm_mutex);
    int descriptor = cuda_physical_share(p) ? sim_exported_descriptor(p->piece.place, p->piece.number) : -1;
    pthread_mutex_unlock(&cuda_vmm_mutex);
    if (descriptor < 0) return CUDA_ERROR_OPERATING_SYSTEM;
    *(int *)out = descriptor;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *from,
                                                 CUmemAllocationHandleType type) {
    CUDA_ENTER(handle && type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
    struct cuda_physical what = {
        .prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .requestedHandleTypes = type}, .shared = true};
    /* The descriptor itself stands in the place of a pointer. */
    if (!sim_exported_read((int)(intptr_t)from, &what.piece.place, &what.piece.number))
        return CUDA_ERROR_INVALID_VALUE;
    what.multicast = sim_multicast_team(cuda.node->state, what.piece) > 0;
    if (what.multicast) { /* lies on no card */
        if (!sim_shared_hold(cuda.node->state, cuda.slot, what.piece, &what.prop.location.id, &what.size))
            return CUDA_ERROR_INVALID_VALUE;
    } else {
        CUdevice device = cuda_hold(what.piece, &what.size);
        if (device < 0) return CUDA_ERROR_INVALID_VALUE;
        what.prop.location = (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, device};
    }
    struct cuda_physical *p = cuda_physical_new(what);
    if (!p) return CUDA_ERROR_OUT_OF_MEMORY;
    *handle = (uintptr_t)p;
    return CUDA_SUCCESS;
}
