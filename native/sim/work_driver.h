/* The CUDA driver as the sample workloads use it: loaded by name at run time, like any program with an
 * optional GPU. */
#pragma once

#include <stdbool.h>

#include "cuda_abi.h"

#define WORK_FUNCTIONS                                                                                       \
    WORK(cuInit, cuInit, (unsigned))                                                                         \
    WORK(cuGetErrorName, cuGetErrorName, (CUresult, const char **))                                          \
    WORK(cuDeviceGet, cuDeviceGet, (CUdevice *, int))                                                        \
    WORK(cuDeviceGetName, cuDeviceGetName, (char *, int, CUdevice))                                          \
    WORK(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                        \
    WORK(cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext))                                                      \
    WORK(cuCtxSynchronize, cuCtxSynchronize, (void))                                                         \
    WORK(cuMemGetInfo, cuMemGetInfo_v2, (size_t *, size_t *))                                                \
    WORK(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr *, size_t))                                                 \
    WORK(cuMemFree, cuMemFree_v2, (CUdeviceptr))                                                             \
    WORK(cuModuleLoadData, cuModuleLoadData, (CUmodule *, const void *))                                     \
    WORK(cuModuleGetFunction, cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                   \
    WORK(cuLaunchKernel, cuLaunchKernel,                                                                     \
         (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,        \
          void **, void **))

struct work_driver {
#define WORK(member, symbol, parameters) CUresult(*member) parameters;
    WORK_FUNCTIONS
#undef WORK
};
extern struct work_driver driver;

/* Loads the driver and makes the primary context of card `index` current; false after a message on stderr. */
bool work_start(int index);

/* Ends the program with a message when `result` is an error; `what` was tried. */
void work_check(CUresult result, const char *what);
const char *work_error_name(CUresult result);
void work_print_memory(void);

/* Loads code of so many bytes past all entry points, as the CUDA runtime does; ends the program where the
 * driver is no simulated one. */
void work_load_unseen(unsigned long long bytes);

/* "--name VALUE" anywhere in argv, else `otherwise`. */
const char *work_option(char **argv, const char *name, const char *otherwise);

/* The number in a text like 512, 64M, 64MiB or 10Gi in bytes; ends the program when it is none. */
unsigned long long work_bytes(const char *text);
