/*
 * small-driver: a driver of a few functions (-DDRIVER), and a program that allocates by what it finds there.
 * For another C library, such as musl, for which the simulated driver is not built; and for what a program
 * does to itself: this driver opens no file, asks for no memory and can be unloaded.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../include/cuda_abi.h"

#ifdef DRIVER
CUresult cuInit(unsigned flags) { return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS; }
CUresult cuCtxGetDevice(CUdevice *device) {
    *device = 0;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext *context) {
    *context = (CUcontext)0x1000;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
    (void)device;
    memcpy(uuid->bytes, "\xf1\xc7\xd0\x8c\xae\x21\x13\xe7\x0d\xe0\x9e\xb1\x4f\xf7\x1e\xaf", 16);
    return CUDA_SUCCESS;
}
CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t size) {
    static CUdeviceptr next = 1 << 20;
    *pointer = next;
    next += size;
    return CUDA_SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr pointer) {
    (void)pointer;
    return CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream stream) {
    (void)stream;
    return CUDA_SUCCESS;
}
/* Tools that trace a program's calls make calls of their own from within them: here the same, and a wait.
 * And a call may be where a thread is cancelled. */
#define TRACED(symbol, parameters, ...)                                                                      \
    CUresult symbol parameters {                                                                             \
        static int within;                                                                                   \
        usleep(1000);                                                                                        \
        CUresult(*again) parameters = (CUresult(*) parameters)dlsym(RTLD_DEFAULT, #symbol);                  \
        CUresult (*wait)(CUstream) = (CUresult (*)(CUstream))dlsym(RTLD_DEFAULT, "cuStreamSynchronize");     \
        if (within++ == 0) return wait(NULL), again(__VA_ARGS__);                                            \
        return CUDA_SUCCESS;                                                                                 \
    }
TRACED(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device), context, device)
TRACED(cuMemPoolTrimTo, (CUmemoryPool pool, size_t keep), pool, keep)
TRACED(cuDeviceGraphMemTrim, (CUdevice device), device)
/* Newer than all that is known; and addresses that nobody can look up. */
CUresult cuMemAlloc_v3(void) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                             CUdriverProcAddressQueryResult *status) {
    static char addresses[1024];
    static int given;
    (void)flags, (void)status;
    bool newest = version >= 99000 && strcmp(name, "cuMemAlloc") == 0;
    *function = newest ? (void *)cuMemAlloc_v3 : (void *)&addresses[given++];
    return CUDA_SUCCESS;
}
#else
int main(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    if (!driver) return printf("%s\n", dlerror()), 1;
    CUresult (*init)(unsigned) = (CUresult (*)(unsigned))dlsym(driver, "cuInit");
    CUresult (*allocate)(CUdeviceptr *, size_t) =
        (CUresult (*)(CUdeviceptr *, size_t))dlsym(driver, "cuMemAlloc_v2");
    CUresult (*release)(CUdeviceptr) = (CUresult (*)(CUdeviceptr))dlsym(driver, "cuMemFree_v2");
    if (!init || !allocate || !release) return 2;
    CUdeviceptr first = 0, second = 0;
    size_t most = (size_t)6 << 30;
    printf("%d", init(0));
    printf(" %d", allocate(&first, most));
    printf(" %d", allocate(&second, most));
    printf(" %d", release(first));
    printf(" %d", allocate(&second, most));
    fflush(stdout);
    if (fork() == 0) _exit(allocate(&first, most / 2));
    int status = 0; /* what the child takes is its own, and free when it has ended */
    wait(&status);
    printf(" %d %d\n", WEXITSTATUS(status), allocate(&first, most / 2));
    return 0;
}
#endif
