/*
 * Launches. What a kernel costs is in its name: `busy_us_<N>` and `busy_ns_<N>` take N; `busy_us` and
 * `busy_ns` take their first parameter, a 64-bit number; any other kernel takes 5 microseconds. One that is
 * called `fault` touches an illegal address.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda_module.h"

enum { DEFAULT_COST_NS = 5000 };

static uint64_t first_parameter(void **parameters, void **extra) {
    uint64_t value = 0;
    const void *from = parameters ? parameters[0] : NULL;
    for (; !from && extra && *extra; extra += 2)
        if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) from = extra[1];
    if (from) memcpy(&value, from, sizeof value);
    return value;
}

static uint64_t cost(CUfunction function, void **parameters, void **extra) {
    bool us = strncmp(function->name, "busy_us", 7) == 0;
    if (!us && strncmp(function->name, "busy_ns", 7) != 0) return DEFAULT_COST_NS;
    uint64_t number = function->name[7] == '_' ? strtoull(function->name + 8, NULL, 10)
                                               : first_parameter(parameters, extra);
    return us ? number * 1000 : number;
}

/* Blocks that are more than the card has room for run one after the other: that is in the kernel's time. */
static unsigned part_of_card(CUdevice device, uint64_t blocks, uint64_t threads) {
    uint64_t processors = cuda.device[device].gpu->multiprocessors;
    uint64_t by_threads = SIM_WHOLE_CARD * blocks * threads / (processors * SIM_THREADS);
    uint64_t by_blocks = SIM_WHOLE_CARD * blocks / (processors * SIM_BLOCKS);
    uint64_t part = 1 + (by_threads > by_blocks ? by_threads : by_blocks);
    return part < SIM_WHOLE_CARD ? (unsigned)part : SIM_WHOLE_CARD;
}

struct sim_work cuda_kernel_work(CUdevice device, CUfunction function, uint64_t blocks, uint64_t threads,
                                 void **parameters, void **extra) {
    return (struct sim_work){.cost = cost(function, parameters, extra),
                             .part = part_of_card(device, blocks, threads)};
}

static void fault(void *context, uint64_t time) {
    (void)time;
    ((CUcontext)context)->fault = CUDA_ERROR_ILLEGAL_ADDRESS;
}

static CUresult launch(CUfunction function, const unsigned grid[3], const unsigned block[3], CUstream stream,
                       void **parameters, void **extra) {
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
    if (!grid[0] || !grid[1] || !grid[2] || !threads || threads > 1024) return CUDA_ERROR_INVALID_VALUE;
    CUresult result = cuda_code_use(function);
    if (result != CUDA_SUCCESS) return result;
    struct sim_work work = cuda_kernel_work(
        stream->context->device, function, (uint64_t)grid[0] * grid[1] * grid[2], threads, parameters, extra);
    if (strcmp(function->name, "fault") == 0) work.done = fault, work.argument = cuda_owner(stream->context);
    return cuda_submit(stream, work);
}

static CUresult on_cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                  unsigned by, unsigned bz, unsigned shared, void **parameters, void **extra,
                                  CUstream stream) {
    (void)shared;
    return launch(f, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, stream, parameters, extra);
}
static CUresult on_cuLaunchCooperativeKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                             unsigned by, unsigned bz, unsigned shared, void **parameters,
                                             CUstream stream) {
    (void)shared;
    return launch(f, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, stream, parameters, NULL);
}
static CUresult on_cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **parameters, void **extra,
                                    CUstream stream) {
    if (!c) return CUDA_ERROR_INVALID_VALUE;
    return launch(f, (unsigned[]){c->gridDimX, c->gridDimY, c->gridDimZ},
                  (unsigned[]){c->blockDimX, c->blockDimY, c->blockDimZ}, stream, parameters, extra);
}

CUDA_BOTH(cuLaunchKernel, _ptsz,
          (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
           unsigned shared, CUstream stream, void **parameters, void **extra),
          stream, f, gx, gy, gz, bx, by, bz, shared, parameters, extra)
CUDA_BOTH(cuLaunchCooperativeKernel, _ptsz,
          (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
           unsigned shared, CUstream stream, void **parameters),
          stream, f, gx, gy, gz, bx, by, bz, shared, parameters)
CUDA_BOTH(cuLaunchKernelEx, _ptsz,
          (const CUlaunchConfig *config, CUfunction f, void **parameters, void **extra),
          config ? config->hStream : NULL, config, f, parameters, extra)

/* One kernel on several cards, each by its own stream. */
CUDA_API CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS *list, unsigned count,
                                                       unsigned flags) {
    (void)flags;
    CUDA_ENTER(list && count);
    CUresult result = CUDA_SUCCESS;
    for (const CUDA_LAUNCH_PARAMS *one = list; result == CUDA_SUCCESS && one < list + count; one++) {
        CUstream resolved = cuda_stream(one->hStream, false);
        if (!resolved) return CUDA_ERROR_INVALID_CONTEXT;
        result = launch(one->function, (unsigned[]){one->gridDimX, one->gridDimY, one->gridDimZ},
                        (unsigned[]){one->blockDimX, one->blockDimY, one->blockDimZ}, resolved,
                        one->kernelParams, NULL);
    }
    return result;
}

/* Launches as before CUDA 4: the shape of a block and the parameters are set on the function. */
CUDA_API CUresult cuFuncSetBlockShape(CUfunction f, int x, int y, int z) {
    CUDA_ENTER(f && x > 0 && y > 0 && z > 0);
    f->block[0] = (unsigned)x, f->block[1] = (unsigned)y, f->block[2] = (unsigned)z;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuParamSetSize(CUfunction f, unsigned size) {
    CUDA_ENTER(f && size <= sizeof f->parameters);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuParamSetv(CUfunction f, int offset, const void *value, unsigned size) {
    CUDA_ENTER(f && value && offset >= 0 && (size_t)offset + size <= sizeof f->parameters);
    memcpy(f->parameters + offset, value, size);
    return CUDA_SUCCESS;
}
static CUresult launch_grid(CUfunction f, int width, int height, CUstream stream) {
    CUDA_ENTER(f && width > 0 && height > 0);
    CUstream resolved = cuda_stream(stream, false);
    if (!resolved) return CUDA_ERROR_INVALID_CONTEXT;
    unsigned grid[] = {(unsigned)width, (unsigned)height, 1};
    return launch(f, grid, f->block, resolved, (void *[]){f->parameters}, NULL);
}
CUDA_API CUresult cuLaunch(CUfunction f) { return launch_grid(f, 1, 1, NULL); }
CUDA_API CUresult cuLaunchGrid(CUfunction f, int width, int height) {
    return launch_grid(f, width, height, NULL);
}
CUDA_API CUresult cuLaunchGridAsync(CUfunction f, int width, int height, CUstream stream) {
    return launch_grid(f, width, height, stream);
}
