/*
 * forks: while threads take and give memory in every way that keeps state, the program forks. A child can do
 * nothing with the driver that its parent has used, but each of its calls must end as the driver ends it,
 * whatever its parent was in the middle of, and leave the parent's account alone. With the limiter preloaded.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../src/hooks.h"
#include "check.h"

enum { THREADS = 6, FORKS = 300, HANGS_AFTER_S = 60, ADDRESSES = 64, SIZE = 2 * MIB };

static void *cuda;
static CUcontext context;
static CUmemoryPool pool;
static _Atomic bool over;

static void *found(const char *name) {
    void *function = dlsym(cuda, name);
    CHECK(function);
    return function;
}
#define CALL(symbol) ((symbol##_type)found(#symbol))
#define DO(call)     CHECK((call) == CUDA_SUCCESS)

static void plain(void) {
    CUdeviceptr at[8];
    for (int i = 0; i < 8; i++) DO(CALL(cuMemAlloc_v2)(&at[i], SIZE));
    for (int i = 0; i < 8; i++) DO(CALL(cuMemFree_v2)(at[i]));
}
static void pooled(void) {
    CUdeviceptr at;
    DO(CALL(cuMemAllocFromPoolAsync)(&at, SIZE, pool, NULL));
    DO(CALL(cuMemFreeAsync)(at, NULL));
    DO(CALL(cuStreamSynchronize)(NULL));
}
static void physical(void) {
    CUmemGenericAllocationHandle handle;
    CUmemAllocationProp wanted = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    DO(CALL(cuMemCreate)(&handle, SIZE, &wanted, 0));
    DO(CALL(cuMemRelease)(handle));
}
static void graphs(void) {
    CUresult (*create)(CUgraph *, unsigned) = found("cuGraphCreate");
    CUresult (*destroy)(CUgraph) = found("cuGraphDestroy");
    CUresult (*allocate)(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUDA_MEM_ALLOC_NODE_PARAMS *) =
        found("cuGraphAddMemAllocNode");
    CUgraph graph;
    CUgraphNode node;
    CUgraphExec executable;
    CUDA_MEM_ALLOC_NODE_PARAMS wanted = {.bytesize = SIZE,
                                         .poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    DO(create(&graph, 0));
    DO(allocate(&node, graph, NULL, 0, &wanted));
    DO(CALL(cuGraphInstantiateWithFlags)(&executable, graph, 0));
    DO(CALL(cuGraphExecDestroy)(executable));
    DO(destroy(graph));
}
static void code(void) {
    CUmodule module;
    CUfunction function;
    DO(CALL(cuModuleLoadData)(&module, "text"));
    DO(CALL(cuModuleGetFunction)(&function, module, "busy_us_10"));
    DO(CALL(cuLaunchKernel)(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    DO(CALL(cuStreamSynchronize)(NULL));
    DO(CALL(cuModuleUnload)(module));
}

static void contexts(void) {
    CUcontext primary;
    DO(CALL(cuDevicePrimaryCtxRetain)(&primary, 0));
    DO(CALL(cuDevicePrimaryCtxRelease_v2)(0));
}

static void *work(void *way) {
    CUresult (*set_current)(CUcontext) = found("cuCtxSetCurrent");
    DO(set_current(context));
    while (!over) ((void (*)(void))way)();
    return NULL;
}

static void child(void) {
    uint64_t any[8];
    alarm(HANGS_AFTER_S);
#define IS_REFUSED(call) CHECK((call) == CUDA_ERROR_NOT_INITIALIZED)
    for (uint64_t i = 1; i <= ADDRESSES; i++) {
        IS_REFUSED(CALL(cuMemFree_v2)(i << 21));
        IS_REFUSED(CALL(cuMemRelease)(i));
    }
    IS_REFUSED(CALL(cuMemAlloc_v2)((CUdeviceptr *)any, SIZE));
    IS_REFUSED(CALL(cuMemUnmap)(SIZE, SIZE));
    CALL(cuMemAllocFromPoolAsync)((CUdeviceptr *)any, SIZE, pool,
                                  NULL); /* what it says depends on the pool */
    IS_REFUSED(CALL(cuMemPoolTrimTo)(pool, 0));
    IS_REFUSED(CALL(cuGraphExecDestroy)((CUgraphExec)any));
    IS_REFUSED(CALL(cuModuleUnload)((CUmodule)any));
    IS_REFUSED(CALL(cuCtxDestroy_v2)(context));
    IS_REFUSED(CALL(cuDevicePrimaryCtxReset_v2)(0));
    IS_REFUSED(CALL(cuCtxSynchronize)());
    _exit(0);
}

int main(void) {
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    CHECK(cuda);
    CUmemPoolProps wanted = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                             .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    DO(CALL(cuInit)(0));
    DO(CALL(cuCtxCreate_v2)(&context, 0, 0));
    DO(CALL(cuMemPoolCreate)(&pool, &wanted));
    void (*const ways[THREADS])(void) = {plain, pooled, physical, graphs, code, contexts};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)ways[i]) == 0);
    for (int i = 0; i < FORKS; i++) alone(child);
    over = true;
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    DO(CALL(cuMemPoolTrimTo)(pool, 0));
    DO(CALL(cuDeviceGraphMemTrim)(0));
    size_t available, total;
    DO(CALL(cuMemGetInfo_v2)(&available, &total));
    printf("%zu MiB are used\n", (total - available) / MIB);
    return 0;
}
