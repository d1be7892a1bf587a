/*
 * Managed memory whose preferred place is the host: the card works on it over the bus, and none of its own
 * memory is taken. It needs a card that may touch managed memory while the host does (Pascal and newer, not
 * WSL).
 */
#include "hook_host.h"

#include <pthread.h>
#include <stdlib.h>

#include "request.h"

/* What is served so, as long as it is. */
typedef struct served {
    CUdeviceptr start;
    size_t size;
    uint64_t owner; /* the context that it ends with */
    struct served *next;
} served;
static served *all;
static _Atomic int count; /* so that who serves nothing does not lock */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void add(CUdeviceptr start, size_t size, uint64_t owner) {
    served *added = malloc(sizeof *added);
    if (!added) return;
    pthread_mutex_lock(&mutex);
    *added = (served){start, size, owner, all};
    all = added;
    count++;
    pthread_mutex_unlock(&mutex);
}

static void forget(served **at) {
    served *gone = *at;
    *at = gone->next;
    free(gone);
    count--;
}

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
    add(*pointer, size, self.own.owner);
    return CUDA_SUCCESS;
}

bool host_served(CUdeviceptr pointer) {
    if (!count) return false;
    pthread_mutex_lock(&mutex);
    served **at = &all;
    while (*at && (*at)->start != pointer) at = &(*at)->next;
    bool found = *at;
    if (found) forget(at);
    pthread_mutex_unlock(&mutex);
    return found;
}

void host_ended(uint64_t owner) {
    if (!count) return;
    pthread_mutex_lock(&mutex);
    for (served **at = &all; *at;)
        if ((*at)->owner == owner)
            forget(at);
        else
            at = &(*at)->next;
    pthread_mutex_unlock(&mutex);
}

/* It stays there: whoever asks the driver to bring it to a card is told that it was done. */

static bool holds(CUdeviceptr pointer) {
    if (!count) return false;
    pthread_mutex_lock(&mutex);
    const served *each = all;
    while (each && !(pointer >= each->start && pointer - each->start < each->size)) each = each->next;
    pthread_mutex_unlock(&mutex);
    return each;
}

#define STAYS(symbol, parameters, ...)                                                                       \
    CUresult symbol parameters {                                                                             \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        return holds(pointer) ? CUDA_SUCCESS : real(__VA_ARGS__);                                            \
    }
STAYS(cuMemAdvise, (CUdeviceptr pointer, size_t size, int advice, CUdevice device), pointer, size, advice,
      device)
STAYS(cuMemAdvise_v2, (CUdeviceptr pointer, size_t size, int advice, CUmemLocation location), pointer, size,
      advice, location)
STAYS(cuMemPrefetchAsync, (CUdeviceptr pointer, size_t size, CUdevice device, CUstream stream), pointer, size,
      device, stream)
STAYS(cuMemPrefetchAsync_ptsz, (CUdeviceptr pointer, size_t size, CUdevice device, CUstream stream), pointer,
      size, device, stream)
STAYS(cuMemPrefetchAsync_v2,
      (CUdeviceptr pointer, size_t size, CUmemLocation location, unsigned int flags, CUstream stream),
      pointer, size, location, flags, stream)
STAYS(cuMemPrefetchAsync_v2_ptsz,
      (CUdeviceptr pointer, size_t size, CUmemLocation location, unsigned int flags, CUstream stream),
      pointer, size, location, flags, stream)

typedef struct {
    CUdeviceptr *pointers;
    size_t *sizes, count;
    CUmemLocation *locations; /* where each goes from the one on whose number is in `firsts` */
    size_t *firsts, location_count;
    unsigned long long flags;
    CUstream stream;
} batch;

static bool holds_any(const batch *what) {
    for (size_t i = 0; count && what->pointers && i < what->count; i++)
        if (holds(what->pointers[i])) return true;
    return false;
}

/* Without those that stay, one by one. */
static CUresult prefetch(cuMemPrefetchBatchAsync_type real, const batch *what) {
    if (!holds_any(what) || !what->locations || !what->firsts)
        return real(what->pointers, what->sizes, what->count, what->locations, what->firsts,
                    what->location_count, what->flags, what->stream);
    size_t location = 0, first = 0;
    for (size_t i = 0; i < what->count; i++) {
        while (location + 1 < what->location_count && what->firsts[location + 1] <= i) location++;
        if (holds(what->pointers[i])) continue;
        CUresult result = real(&what->pointers[i], &what->sizes[i], 1, &what->locations[location], &first, 1,
                               what->flags, what->stream);
        if (result != CUDA_SUCCESS) return result;
    }
    return CUDA_SUCCESS;
}

#define PREFETCH(symbol)                                                                                     \
    CUresult symbol(CUdeviceptr *pointers, size_t *sizes, size_t many, CUmemLocation *locations,             \
                    size_t *firsts, size_t location_count, unsigned long long flags, CUstream stream) {      \
        symbol##_type real = REAL(symbol);                                                                   \
        batch what = {pointers, sizes, many, locations, firsts, location_count, flags, stream};              \
        return real ? prefetch(real, &what) : CUDA_ERROR_NOT_FOUND;                                          \
    }
PREFETCH(cuMemPrefetchBatchAsync)
PREFETCH(cuMemPrefetchBatchAsync_ptsz)
PREFETCH(cuMemDiscardAndPrefetchBatchAsync)
PREFETCH(cuMemDiscardAndPrefetchBatchAsync_ptsz)

void host_forked(void) {
    pthread_mutex_init(&mutex, NULL);
    all = NULL; /* CUDA does not work in the child of a process that used it */
    count = 0;
}
