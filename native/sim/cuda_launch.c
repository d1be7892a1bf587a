/*
 * Modules, functions and launches. Any image is accepted and any name is found. What a kernel costs is in its
 * name: `busy_us_<N>` and `busy_ns_<N>` take N; `busy_us` and `busy_ns` take their first parameter, a 64-bit
 * number; any other kernel takes 5 microseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_core.h"

struct CUfunc_st {
    char name[128];
    CUmodule module;
    CUfunction next;
};
struct CUmod_st {
    CUcontext context;
    CUfunction functions;
};

enum { DEFAULT_COST_NS = 5000 };

static CUresult load(CUmodule *module, bool given) {
    CUDA_ENTER_CONTEXT(context, module && given);
    *module = calloc(1, sizeof **module);
    if (!*module) return CUDA_ERROR_OUT_OF_MEMORY;
    (*module)->context = context;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuModuleLoad(CUmodule *module, const char *path) {
    FILE *file = path ? fopen(path, "re") : NULL;
    if (path && !file) return CUDA_ERROR_FILE_NOT_FOUND;
    if (file) fclose(file);
    return load(module, path);
}
CUDA_API CUresult cuModuleLoadData(CUmodule *module, const void *image) { return load(module, image); }
CUDA_API CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image) { return load(module, image); }
CUDA_API CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, int *options,
                                     void **values) {
    (void)count, (void)options, (void)values;
    return load(module, image);
}
CUDA_API CUresult cuModuleUnload(CUmodule module) {
    CUDA_ENTER(module);
    for (CUfunction f = module->functions, next; f; f = next) next = f->next, free(f);
    free(module);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    CUDA_ENTER(function && module && name && *name);
    pthread_mutex_lock(&cuda.mutex);
    CUfunction f = module->functions;
    while (f && strcmp(f->name, name) != 0) f = f->next;
    if (!f && (f = calloc(1, sizeof *f))) {
        snprintf(f->name, sizeof f->name, "%s", name);
        f->module = module, f->next = module->functions, module->functions = f;
    }
    pthread_mutex_unlock(&cuda.mutex);
    *function = f;
    return f ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUDA_API CUresult cuModuleGetGlobal_v2(CUdeviceptr *pointer, size_t *size, CUmodule module,
                                       const char *name) {
    (void)pointer, (void)size;
    CUDA_ENTER(module && name);
    return CUDA_ERROR_NOT_FOUND; /* images are not read */
}
CUDA_API CUresult cuModuleGetLoadingMode(int *mode) {
    CUDA_ENTER(mode);
    *mode = 2; /* lazy */
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuFuncGetModule(CUmodule *module, CUfunction function) {
    CUDA_ENTER(module && function);
    *module = function->module;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuFuncGetName(const char **name, CUfunction function) {
    CUDA_ENTER(name && function);
    *name = function->name;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction function) {
    CUDA_ENTER(value && function);
    *value = attribute == 0 ? 1024 : 0; /* threads of a block */
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value) {
    (void)attribute, (void)value;
    CUDA_ENTER(function);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuFuncSetCacheConfig(CUfunction function, int config) {
    return cuFuncSetAttribute(function, 0, config);
}
CUDA_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int threads,
                                                              size_t shared) {
    (void)shared;
    CUDA_ENTER(blocks && function && threads > 0);
    *blocks = threads > 1536 ? 0 : 1536 / threads > 16 ? 16 : 1536 / threads;
    return CUDA_SUCCESS;
}

static uint64_t first_parameter(void **parameters, void **extra) {
    uint64_t value = 0;
    const void *from = parameters ? parameters[0] : NULL;
    for (; !from && extra && *extra; extra += 2)
        if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) from = extra[1];
    if (from) memcpy(&value, from, sizeof value);
    return value;
}

uint64_t cuda_kernel_cost(CUfunction function, void **parameters, void **extra) {
    bool us = strncmp(function->name, "busy_us", 7) == 0;
    if (!us && strncmp(function->name, "busy_ns", 7) != 0) return DEFAULT_COST_NS;
    uint64_t number = function->name[7] == '_' ? strtoull(function->name + 8, NULL, 10)
                                               : first_parameter(parameters, extra);
    return us ? number * 1000 : number;
}

static CUresult launch(CUfunction function, const unsigned grid[3], const unsigned block[3], CUstream stream,
                       void **parameters, void **extra) {
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
    if (!grid[0] || !grid[1] || !grid[2] || !threads || threads > 1024) return CUDA_ERROR_INVALID_VALUE;
    return cuda_submit(stream, cuda_kernel_cost(function, parameters, extra), NULL, NULL);
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
