/*
 * races STEPS: two threads each make one call at the same moment, again and again, of pairs that concern the
 * same memory. It stops when all that is left of it is held, and when nothing is: both times the limiter must
 * count what the driver holds. With the limiter preloaded.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../include/cuda_abi.h"
#include "check.h"

enum { SIZE = 2 * MIB, MOST_STEPS = 4096, SPINS = 2000 };

#define FUNCTIONS                                                                                            \
    F(cuInit, (unsigned))                                                                                    \
    F(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                                                     \
    F(cuCtxSetCurrent, (CUcontext))                                                                          \
    F(cuCtxSynchronize, (void))                                                                              \
    F(cuStreamSynchronize, (CUstream))                                                                       \
    F(cuMemAddressReserve, (CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long))                 \
    F(cuMemCreate,                                                                                           \
      (CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *, unsigned long long))             \
    F(cuMemMap, (CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long))             \
    F(cuMemUnmap, (CUdeviceptr, size_t))                                                                     \
    F(cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle *, void *))                                 \
    F(cuMemRelease, (CUmemGenericAllocationHandle))                                                          \
    F(cuMemPoolCreate, (CUmemoryPool *, const CUmemPoolProps *))                                             \
    F(cuMemPoolSetAttribute, (CUmemoryPool, CUmemPool_attribute, void *))                                    \
    F(cuMemPoolTrimTo, (CUmemoryPool, size_t))                                                               \
    F(cuMemPoolDestroy, (CUmemoryPool))                                                                      \
    F(cuMemAllocFromPoolAsync, (CUdeviceptr *, size_t, CUmemoryPool, CUstream))                              \
    F(cuMemFreeAsync, (CUdeviceptr, CUstream))                                                               \
    F(cuMemFree_v2, (CUdeviceptr))
static struct {
#define F(name, parameters) CUresult(*name) parameters;
    FUNCTIONS
#undef F
} call;

static void load(void) {
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW);
#define F(name, parameters) CHECK(cuda && (call.name = dlsym(cuda, #name)));
    FUNCTIONS
#undef F
}
#define DO(name, ...) CHECK(call.name(__VA_ARGS__) == CUDA_SUCCESS)

typedef struct {
    CUdeviceptr at;
    CUmemGenericAllocationHandle handle;
    CUmemoryPool pool;
    bool taken; /* by the second of the two calls */
} memory;

/* Each thread calls a little later than the other, or earlier. */
static void spin(void) {
    static _Thread_local unsigned seed;
    for (int left = rand_r(&seed) % SPINS; left > 0; left--) atomic_signal_fence(memory_order_seq_cst);
}

static void map(memory *it) {
    CUmemAllocationProp wanted = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    DO(cuMemAddressReserve, &it->at, SIZE, 0, 0, 0);
    DO(cuMemCreate, &it->handle, SIZE, &wanted, 0);
    DO(cuMemMap, it->at, SIZE, 0, it->handle, 0);
    DO(cuMemRelease, it->handle);
}
static void unmap(memory *it) { DO(cuMemUnmap, it->at, SIZE); }
static void retain(memory *it) {
    it->taken = call.cuMemRetainAllocationHandle(&it->handle, (void *)it->at) == CUDA_SUCCESS;
}
static void release(memory *it) {
    if (it->taken) DO(cuMemRelease, it->handle);
}

static void keep_in_pool(memory *it) {
    CUmemPoolProps wanted = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                             .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    uint64_t all = UINT64_MAX;
    DO(cuMemPoolCreate, &it->pool, &wanted);
    DO(cuMemPoolSetAttribute, it->pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &all);
    DO(cuMemAllocFromPoolAsync, &it->at, SIZE, it->pool, NULL);
    DO(cuMemFreeAsync, it->at, NULL);
    DO(cuStreamSynchronize, NULL);
}
static void trim(memory *it) { DO(cuMemPoolTrimTo, it->pool, 0); }
static void take(memory *it) { DO(cuMemAllocFromPoolAsync, &it->at, SIZE, it->pool, NULL); }
static void give_back(memory *it) {
    DO(cuMemFree_v2, it->at);
    DO(cuMemPoolDestroy, it->pool);
}

static const struct race {
    void (*begin)(memory *), (*one)(memory *), (*other)(memory *), (*end)(memory *);
} races[] = {{map, unmap, retain, release}, {keep_in_pool, trim, take, give_back}};
enum { RACES = sizeof races / sizeof *races };

static memory all[RACES][MOST_STEPS];
static const struct race *race;
static memory *raced; /* NULL: it is over */
static CUcontext context;
static _Atomic int begun, ended; /* calls of the second thread; waited for without sleep, to be at once */

static void *other(void *unused) {
    DO(cuCtxSetCurrent, context);
    for (;; atomic_fetch_add(&ended, 1)) {
        while (atomic_load(&begun) == atomic_load(&ended)) {
        }
        if (!raced) return unused;
        spin();
        race->other(raced);
    }
}

static void tell(void) {
    printf("told\n");
    fflush(stdout);
    CHECK(getchar() == '\n');
}

int main(int argc, char **argv) {
    int steps = argc == 2 ? atoi(argv[1]) : 0;
    pthread_t thread;
    CHECK(steps > 0 && steps <= MOST_STEPS);
    load();
    DO(cuInit, 0);
    DO(cuDevicePrimaryCtxRetain, &context, 0);
    DO(cuCtxSetCurrent, context);
    CHECK(pthread_create(&thread, NULL, other, NULL) == 0);
    for (int i = 0; i < RACES * steps; i++) {
        race = &races[i / steps], raced = &all[i / steps][i % steps];
        race->begin(raced);
        atomic_fetch_add(&begun, 1);
        spin();
        race->one(raced);
        while (atomic_load(&ended) <= i) {
        }
    }
    raced = NULL;
    atomic_fetch_add(&begun, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    tell();
    for (int i = 0; i < RACES * steps; i++) races[i / steps].end(&all[i / steps][i % steps]);
    DO(cuCtxSynchronize);
    tell();
    return 0;
}
