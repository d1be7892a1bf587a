#include "cuda_graph_memory.h"
#include "cuda_pool.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *tree; /* of struct cuda_allocation, ordered by address; guarded by mutex */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Ranges that overlap compare equal: looking up an inner address finds the allocation around it. */
static int by_address(const void *a, const void *b) {
    const struct cuda_allocation *x = a, *y = b;
    if (x->start + (x->size ? x->size : 1) <= y->start) return -1;
    return y->start + (y->size ? y->size : 1) <= x->start;
}

static struct cuda_allocation *find(CUdeviceptr address) {
    struct cuda_allocation key = {.start = address, .size = 1};
    struct cuda_allocation **node = tfind(&key, &tree, by_address);
    return node ? *node : NULL;
}

uint64_t cuda_rounded(uint64_t bytes) {
    uint64_t step = bytes >= SIM_MIB ? 2 * SIM_MIB : 512;
    return bytes > UINT64_MAX - step ? UINT64_MAX : (bytes + step - 1) / step * step;
}

/* Host memory for an allocation, without cost until it is touched. NULL when there is no address space. */
static void *back(size_t size) {
    if (size < SIM_MIB) return aligned_alloc(512, (size + 511) / 512 * 512);
    void *start =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

static void unback(void *start, size_t size) {
    if (size < SIM_MIB)
        free(start);
    else
        munmap(start, size);
}

static uint64_t charge_of(size_t size, enum cuda_kind kind) {
    return kind == CUDA_DEVICE || kind == CUDA_MANAGED ? cuda_rounded(size) : 0;
}

/* Backs and records memory that is taken; where it starts, 0 without host memory. */
static CUdeviceptr record(struct cuda_allocation what) {
    struct cuda_allocation *a = malloc(sizeof *a);
    void *start = a ? back(what.size) : NULL;
    if (!start) {
        free(a);
        return 0;
    }
    *a = what;
    a->context = cuda_owner(what.context);
    a->start = (uintptr_t)start;
    pthread_mutex_lock(&mutex);
    tsearch(a, &tree, by_address);
    pthread_mutex_unlock(&mutex);
    return (uintptr_t)start;
}

CUresult cuda_memory_new(CUcontext context, size_t size, enum cuda_kind kind, CUmemoryPool pool,
                         CUdeviceptr *out) {
    uint64_t charge = charge_of(size, kind);
    if (charge && cuda_take(context->device, charge) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
    CUdeviceptr start = record((struct cuda_allocation){
        .size = size, .charged = charge, .kind = kind, .context = pool ? NULL : context, .pool = pool});
    if (!start) {
        cuda_give(context->device, charge);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *out = start;
    return CUDA_SUCCESS;
}

CUresult cuda_memory_share(CUdeviceptr address, struct cuda_allocation *out) {
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&mutex);
    struct cuda_allocation *a = find(address);
    if (!a || a->kind != CUDA_DEVICE)
        result = CUDA_ERROR_INVALID_VALUE;
    else if (!a->shared && !(a->shared = cuda_share(a->context->device, a->charged, &a->piece)))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS) *out = *a;
    pthread_mutex_unlock(&mutex);
    return result;
}

CUresult cuda_memory_import(CUcontext context, const struct sim_piece *piece, uint64_t size,
                            CUdeviceptr *out) {
    struct cuda_allocation what = {
        .size = size, .kind = piece ? CUDA_IMPORTED : CUDA_OF_POOL, .context = context, .shared = piece};
    if (piece) what.piece = *piece;
    *out = record(what);
    return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

bool cuda_memory_find(CUdeviceptr address, struct cuda_allocation *out) {
    pthread_mutex_lock(&mutex);
    const struct cuda_allocation *a = find(address);
    if (a) *out = *a;
    pthread_mutex_unlock(&mutex);
    return a != NULL;
}

CUresult cuda_memory_free(CUdeviceptr start, unsigned kinds) {
    pthread_mutex_lock(&mutex);
    struct cuda_allocation *a = find(start);
    if (a && (a->start != start || !(kinds >> a->kind & 1))) a = NULL;
    if (a) tdelete(a, &tree, by_address);
    pthread_mutex_unlock(&mutex);
    if (!a) return CUDA_ERROR_INVALID_VALUE;
    unback((void *)(uintptr_t)a->start, a->size);
    if (a->pool) cuda_pool_return(a->pool, cuda_rounded(a->size));
    if (a->shared)
        cuda_let_go(a->piece);
    else if (a->charged)
        cuda_give(a->context->device, a->charged);
    free(a);
    return CUDA_SUCCESS;
}

bool cuda_memory_bring(CUdeviceptr address, bool to_card) {
    pthread_mutex_lock(&mutex);
    struct cuda_allocation *a = find(address);
    bool managed = a && (a->kind == CUDA_MANAGED || a->kind == CUDA_ON_HOST),
         on_card = managed && a->kind == CUDA_MANAGED;
    uint64_t bytes = managed ? cuda_rounded(a->size) : 0;
    if (managed && to_card && !on_card && cuda_take(a->context->device, bytes) == CUDA_SUCCESS)
        a->kind = CUDA_MANAGED, a->charged = bytes;
    if (managed && !to_card && on_card) {
        cuda_give(a->context->device, bytes);
        a->kind = CUDA_ON_HOST, a->charged = 0;
    }
    pthread_mutex_unlock(&mutex);
    return managed;
}

static CUcontext doomed; /* for the visitor, which has no argument; guarded by mutex */
static CUdeviceptr doomed_start;
static void visit(const void *node, VISIT order, int level) {
    (void)level;
    const struct cuda_allocation *a = *(struct cuda_allocation *const *)node;
    if ((order == postorder || order == leaf) && a->context == doomed) doomed_start = a->start;
}

void cuda_memory_free_all(CUcontext context) {
    for (;;) {
        pthread_mutex_lock(&mutex);
        doomed = context, doomed_start = 0;
        twalk(tree, visit);
        CUdeviceptr start = doomed_start;
        pthread_mutex_unlock(&mutex);
        if (!start) return;
        cuda_memory_free(start, ~0u);
    }
}

static CUresult allocate(CUdeviceptr *pointer, size_t size, enum cuda_kind kind) {
    CUDA_ENTER_CONTEXT(context, pointer && size);
    return cuda_memory_new(context, size, kind, NULL, pointer);
}

CUDA_API CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t size) {
    return allocate(pointer, size, CUDA_DEVICE);
}
CUDA_API CUresult cuMemAllocManaged(CUdeviceptr *pointer, size_t size, unsigned flags) {
    return flags == CU_MEM_ATTACH_GLOBAL || flags == CU_MEM_ATTACH_HOST
               ? allocate(pointer, size, flags == CU_MEM_ATTACH_HOST ? CUDA_ON_HOST : CUDA_MANAGED)
               : CUDA_ERROR_INVALID_VALUE;
}
CUDA_API CUresult cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height,
                                     unsigned element) {
    CUDA_ENTER(pitch && width && height && (element == 4 || element == 8 || element == 16));
    size_t row = (width + 511) / 512 * 512, bytes;
    if (row < width || __builtin_mul_overflow(row, height, &bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = allocate(pointer, bytes, CUDA_DEVICE);
    if (result == CUDA_SUCCESS) *pitch = row;
    return result;
}

CUDA_API CUresult cuMemFree_v2(CUdeviceptr pointer) {
    CUDA_ENTER(true);
    if (!pointer) return CUDA_SUCCESS;
    struct cuda_allocation a;
    if (cuda_memory_find(pointer, &a)) { /* the real one waits for work that may use the memory */
        for (CUdevice device = 0; device < cuda.devices; device++)
            if (!a.context || a.context->device == device)
                sim_engine_wait_for_all(cuda.device[device].engine);
        if (a.context && cuda_fault(a.context) != CUDA_SUCCESS) return cuda_fault(a.context);
    }
    if (cuda_graph_free(pointer)) return CUDA_SUCCESS;
    return cuda_memory_free(pointer, 1u << CUDA_DEVICE | 1u << CUDA_MANAGED | 1u << CUDA_POOLED |
                                         1u << CUDA_ON_HOST | 1u << CUDA_OF_POOL);
}

CUDA_API CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    CUDA_ENTER_CONTEXT(context, free_bytes || total);
    const struct sim_gpu *gpu = cuda.device[context->device].gpu;
    if (total) *total = gpu->memory;
    if (free_bytes) *free_bytes = gpu->memory - sim_state_used(cuda.node->state, gpu->card);
    return CUDA_SUCCESS;
}

/* What lies around an address, be it a graph's, and of which card it is. */
static bool lies_at(CUdeviceptr pointer, struct cuda_allocation *out, CUdevice *device) {
    *out = (struct cuda_allocation){.kind = CUDA_DEVICE};
    if (!cuda_memory_find(pointer, out)) return cuda_graph_find(pointer, &out->start, &out->size, device);
    *device = out->pool ? out->pool->device : out->context->device;
    return true;
}

CUDA_API CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr pointer) {
    CUDA_ENTER(true);
    struct cuda_allocation a;
    CUdevice device;
    if (!lies_at(pointer, &a, &device)) return CUDA_ERROR_NOT_FOUND;
    if (base) *base = a.start;
    if (size) *size = a.size;
    return CUDA_SUCCESS;
}

/* Host memory that the card can reach takes nothing of the card. */
CUDA_API CUresult cuMemHostAlloc(void **pointer, size_t size, unsigned flags) {
    (void)flags;
    CUDA_ENTER_CONTEXT(context, pointer && size);
    CUdeviceptr start;
    CUresult result = cuda_memory_new(context, size, CUDA_HOST, NULL, &start);
    if (result == CUDA_SUCCESS) *pointer = (void *)(uintptr_t)start;
    return result;
}
CUDA_API CUresult cuMemAllocHost_v2(void **pointer, size_t size) { return cuMemHostAlloc(pointer, size, 0); }
CUDA_API CUresult cuMemFreeHost(void *pointer) {
    CUDA_ENTER(true);
    return cuda_memory_free((uintptr_t)pointer, 1u << CUDA_HOST);
}
CUDA_API CUresult cuMemHostRegister_v2(void *pointer, size_t size, unsigned flags) {
    (void)flags;
    CUDA_ENTER(pointer && size);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuMemHostUnregister(void *pointer) {
    CUDA_ENTER(pointer);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *pointer, unsigned flags) {
    CUDA_ENTER(out && pointer && flags == 0);
    *out = (uintptr_t)pointer;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer) {
    CUDA_ENTER(data);
    struct cuda_allocation a;
    CUdevice device;
    if (!lies_at(pointer, &a, &device)) return CUDA_ERROR_INVALID_VALUE;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *(CUcontext *)data = a.context;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)data = a.kind == CUDA_HOST ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        *(CUdeviceptr *)data = pointer;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *(unsigned long long *)data = a.start;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *(size_t *)data = a.size;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned char *)data = a.kind == CUDA_MANAGED || a.kind == CUDA_ON_HOST ||
                                 (a.pool && a.pool->type == CU_MEM_ALLOCATION_TYPE_MANAGED);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)data = device;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MAPPED:
        *(unsigned char *)data = 1;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}
CUDA_API CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute *attributes, void **data,
                                         CUdeviceptr pointer) {
    CUDA_ENTER(attributes && data);
    for (unsigned i = 0; i < count; i++) /* an unknown pointer is no error here: its values are zero */
        if (cuPointerGetAttribute(data[i], attributes[i], pointer) != CUDA_SUCCESS)
            *(unsigned char *)data[i] = 0;
    return CUDA_SUCCESS;
}
