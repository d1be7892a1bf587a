/* Virtual memory management: physical handles, address ranges, and mappings between them. */
#include <stdlib.h>
#include <sys/mman.h>

#include "cuda_memory.h"

enum { GRANULARITY = 2 << 20 };

/* Physical memory lives while its handle or a mapping of it does. */
struct physical {
    CUmemAllocationProp prop;
    uint64_t size;
    int references;
    bool shared; /* with other processes: it ends with the hold on `piece` */
    struct sim_piece piece;
};
struct mapping {
    CUdeviceptr start;
    size_t size;
    struct physical *physical;
    struct mapping *next;
};
static struct mapping *mappings; /* guarded by mutex, as the counts of references */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void drop(struct physical *p) {
    if (--p->references > 0) return;
    if (p->shared)
        cuda_let_go(p->piece);
    else if (p->prop.location.type == CU_MEM_LOCATION_TYPE_DEVICE)
        cuda_give(p->prop.location.id, p->size);
    free(p);
}

CUDA_API CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
                                                int option) {
    (void)option;
    CUDA_ENTER(granularity && prop);
    *granularity = GRANULARITY;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
                              const CUmemAllocationProp *prop, unsigned long long flags) {
    CUDA_ENTER(handle && prop && size && size % GRANULARITY == 0 && flags == 0 &&
               prop->type == CU_MEM_ALLOCATION_TYPE_PINNED);
    bool on_device = prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    if (on_device && !cuda_device(prop->location.id)) return CUDA_ERROR_INVALID_DEVICE;
    if (on_device && cuda_take(prop->location.id, size) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
    struct physical *p = malloc(sizeof *p);
    if (!p) {
        if (on_device) cuda_give(prop->location.id, size);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *p = (struct physical){.prop = *prop, .size = size, .references = 1};
    *handle = (uintptr_t)p;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    CUDA_ENTER(handle);
    pthread_mutex_lock(&mutex);
    drop((struct physical *)(uintptr_t)handle);
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop,
                                                         CUmemGenericAllocationHandle handle) {
    CUDA_ENTER(prop && handle);
    *prop = ((struct physical *)(uintptr_t)handle)->prop;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemAddressReserve(CUdeviceptr *pointer, size_t size, size_t alignment,
                                      CUdeviceptr address, unsigned long long flags) {
    (void)alignment, (void)address, (void)flags;
    CUDA_ENTER(pointer && size && size % GRANULARITY == 0);
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
    struct physical *p = (struct physical *)(uintptr_t)handle;
    CUDA_ENTER(pointer && p && size && flags == 0 && offset <= p->size && size <= p->size - offset);
    struct mapping *m = malloc(sizeof *m);
    if (!m) return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&mutex);
    *m = (struct mapping){pointer, size, p, mappings};
    mappings = m;
    p->references++;
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemUnmap(CUdeviceptr pointer, size_t size) {
    CUDA_ENTER(pointer && size);
    bool found = false;
    pthread_mutex_lock(&mutex);
    for (struct mapping **at = &mappings; *at;) {
        struct mapping *m = *at;
        if (m->start < pointer || m->start + m->size > pointer + size) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        drop(m->physical);
        free(m);
        found = true;
    }
    pthread_mutex_unlock(&mutex);
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
    CUdeviceptr pointer = (uintptr_t)address;
    *handle = 0;
    pthread_mutex_lock(&mutex);
    for (const struct mapping *m = mappings; m && !*handle; m = m->next)
        if (pointer >= m->start && pointer < m->start + m->size) {
            m->physical->references++;
            *handle = (uintptr_t)m->physical;
        }
    pthread_mutex_unlock(&mutex);
    return *handle ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUDA_API CUresult cuMemExportToShareableHandle(void *out, CUmemGenericAllocationHandle handle,
                                               CUmemAllocationHandleType type, unsigned long long flags) {
    struct physical *p = (struct physical *)(uintptr_t)handle;
    CUDA_ENTER(out && p && flags == 0 && type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR &&
               p->prop.requestedHandleTypes & type && p->prop.location.type == CU_MEM_LOCATION_TYPE_DEVICE);
    pthread_mutex_lock(&mutex);
    if (!p->shared) p->shared = cuda_share(p->prop.location.id, p->size, &p->piece);
    int descriptor = p->shared ? cuda_descriptor_of(&p->piece, sizeof p->piece) : -1;
    pthread_mutex_unlock(&mutex);
    if (descriptor < 0) return CUDA_ERROR_OPERATING_SYSTEM;
    *(int *)out = descriptor;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *from,
                                                 CUmemAllocationHandleType type) {
    CUDA_ENTER(handle && type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
    struct sim_piece piece;
    uint64_t size;
    /* The descriptor itself stands in the place of a pointer. */
    if (!cuda_descriptor_tells((intptr_t)from, &piece, sizeof piece)) return CUDA_ERROR_INVALID_VALUE;
    CUdevice device = cuda_hold(piece, &size);
    if (device < 0) return CUDA_ERROR_INVALID_VALUE;
    struct physical *p = malloc(sizeof *p);
    if (!p) {
        cuda_let_go(piece);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .requestedHandleTypes = type,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
    *p = (struct physical){.prop = prop, .size = size, .references = 1, .shared = true, .piece = piece};
    *handle = (uintptr_t)p;
    return CUDA_SUCCESS;
}
