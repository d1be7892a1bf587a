/*
 * stack: opens the first context, allocates and launches in a thread of its own, and tells how many bytes of
 * that thread's stack were used: with the limiter preloaded and without, the difference is the limiter's.
 */
#include <dlfcn.h>
#include <pthread.h>

#include "../src/hooks.h"
#include "check.h"

enum { STACK = 256 * KIB, PAINT = 0xa5 };
static _Alignas(4096) unsigned char stack[STACK];

static void *cuda;
static void *found(const char *name) {
    void *function = dlsym(cuda, name);
    CHECK(function);
    return function;
}
#define DO(symbol, ...) CHECK(((symbol##_type)found(#symbol))(__VA_ARGS__) == CUDA_SUCCESS)

static void *first_calls(void *unused) {
    CUcontext context;
    CUdeviceptr pointer;
    CUmodule module;
    CUfunction function;
    size_t available, total;
    DO(cuDevicePrimaryCtxRetain, &context, 0);
    CHECK(((CUresult (*)(CUcontext))found("cuCtxSetCurrent"))(context) == CUDA_SUCCESS);
    DO(cuMemGetInfo_v2, &available, &total);
    DO(cuMemAlloc_v2, &pointer, MIB);
    DO(cuMemFree_v2, pointer);
    DO(cuMemAllocAsync, &pointer, MIB, NULL);
    DO(cuMemFreeAsync, pointer, NULL);
    DO(cuModuleLoadData, &module, "busy_ns_1");
    DO(cuModuleGetFunction, &function, module, "busy_ns_1");
    for (int i = 0; i < 100; i++) DO(cuLaunchKernel, function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    DO(cuStreamSynchronize, NULL);
    DO(cuDevicePrimaryCtxRelease_v2, 0);
    return unused;
}

int main(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    CHECK((cuda = dlopen("libcuda.so.1", RTLD_NOW)));
    DO(cuInit, 0);
    memset(stack, PAINT, sizeof stack);
    CHECK(pthread_attr_init(&attributes) == 0 &&
          pthread_attr_setstack(&attributes, stack, sizeof stack) == 0);
    CHECK(pthread_create(&thread, &attributes, first_calls, NULL) == 0 && pthread_join(thread, NULL) == 0);
    size_t untouched = 0;
    while (untouched < sizeof stack && stack[untouched] == PAINT) untouched++;
    printf("%zu\n", sizeof stack - untouched);
    return 0;
}
