/*
 * Modules, libraries and functions. Any image is accepted and any name is found. The code takes as much
 * memory as the image is large (an ELF by its tables, else text): with CUDA_MODULE_LOADING=EAGER when it is
 * loaded, else when its first function is launched.
 */
#include "cuda_module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cuda_memory.h"

struct CUmod_st {
    CUcontext context; /* of a library: NULL until it is used */
    uint64_t bytes, taken;
    CUfunction functions;
    CUmodule next;
};
static CUmodule loaded; /* all of the process; guarded by cuda.mutex */

enum { EAGER = 1, LAZY = 2 };
static int loading_mode(void) {
    const char *mode = getenv("CUDA_MODULE_LOADING");
    return mode && strcmp(mode, "EAGER") == 0 ? EAGER : LAZY;
}

static uint64_t number(const char *image, size_t at, size_t size) {
    uint64_t value = 0;
    memcpy(&value, image + at, size);
    return value;
}

static uint64_t size_of(const char *image) {
    if (strncmp(image, "\177ELF", 4) != 0) return strlen(image) + 1;
    return number(image, 40, 8) + number(image, 58, 2) * number(image, 60, 2);
}

static CUresult take(CUmodule module) {
    if (module->taken) return CUDA_SUCCESS;
    uint64_t bytes = cuda_rounded(module->bytes);
    if (!module->context) module->context = cuda_owner(cuda_current());
    if (!module->context) return CUDA_ERROR_INVALID_CONTEXT;
    if (cuda_take(module->context->device, bytes) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
    module->taken = bytes;
    return CUDA_SUCCESS;
}

CUresult cuda_code_use(CUfunction function) {
    pthread_mutex_lock(&cuda.mutex);
    CUresult result = take(function->module);
    pthread_mutex_unlock(&cuda.mutex);
    return result;
}

static void give(CUmodule module) {
    if (module->taken) cuda_give(module->context->device, module->taken);
    module->taken = 0;
}

void cuda_code_end(CUcontext context) {
    pthread_mutex_lock(&cuda.mutex);
    for (CUmodule m = loaded; m; m = m->next)
        if (m->context == context) give(m), m->context = NULL;
    pthread_mutex_unlock(&cuda.mutex);
}

static CUresult load(CUmodule *module, CUcontext context, uint64_t bytes) {
    CUmodule made = calloc(1, sizeof *made);
    if (!made) return CUDA_ERROR_OUT_OF_MEMORY;
    *made = (struct CUmod_st){.context = cuda_owner(context), .bytes = bytes};
    pthread_mutex_lock(&cuda.mutex);
    CUresult result = context && loading_mode() == EAGER ? take(made) : CUDA_SUCCESS;
    if (result == CUDA_SUCCESS) made->next = loaded, loaded = made, *module = made;
    pthread_mutex_unlock(&cuda.mutex);
    if (result != CUDA_SUCCESS) free(made);
    return result;
}

/*
 * As the CUDA runtime loads its kernels: by a function of a private table, which no entry point names. This
 * table is ours; a real driver knows others.
 */
static CUresult load_unseen(size_t bytes) {
    CUmodule module;
    CUDA_ENTER_CONTEXT(context, bytes);
    CUresult result = load(&module, context, bytes);
    if (result != CUDA_SUCCESS) return result;
    pthread_mutex_lock(&cuda.mutex);
    result = take(module);
    pthread_mutex_unlock(&cuda.mutex);
    return result;
}
CUDA_API CUresult cuGetExportTable(const void **table, const CUuuid *name) {
    static const struct {
        size_t size;
        CUresult (*load)(size_t bytes);
    } runtime = {sizeof runtime, load_unseen};
    if (!table || !name || memcmp(name, "hami-sim-runtime", sizeof *name) != 0)
        return CUDA_ERROR_INVALID_VALUE;
    *table = &runtime;
    return CUDA_SUCCESS;
}

static CUresult load_into_context(CUmodule *module, const void *image) {
    CUDA_ENTER_CONTEXT(context, module && image);
    return load(module, context, size_of(image));
}
CUDA_API CUresult cuModuleLoad(CUmodule *module, const char *path) {
    struct stat file;
    CUDA_ENTER_CONTEXT(context, module && path);
    return stat(path, &file) == 0 ? load(module, context, (uint64_t)file.st_size) : CUDA_ERROR_FILE_NOT_FOUND;
}
CUDA_API CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    return load_into_context(module, image);
}
CUDA_API CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image) {
    return load_into_context(module, image);
}
CUDA_API CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, int *options,
                                     void **values) {
    (void)count, (void)options, (void)values;
    return load_into_context(module, image);
}
CUDA_API CUresult cuModuleUnload(CUmodule module) {
    CUDA_ENTER(module);
    pthread_mutex_lock(&cuda.mutex);
    CUmodule *each = &loaded;
    while (*each && *each != module) each = &(*each)->next;
    bool found = *each != NULL;
    if (found) *each = module->next, give(module);
    pthread_mutex_unlock(&cuda.mutex);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
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
    *mode = loading_mode();
    return CUDA_SUCCESS;
}

/* A library's kernels are launched like functions. */
CUDA_API CUresult cuLibraryLoadData(CUlibrary *library, const void *image, int *jit, void **jit_values,
                                    unsigned jit_count, int *options, void **values, unsigned count) {
    (void)jit, (void)jit_values, (void)jit_count, (void)options, (void)values, (void)count;
    CUDA_ENTER(library && image);
    return load((CUmodule *)library, loading_mode() == EAGER ? cuda_current() : NULL, size_of(image));
}
CUDA_API CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *path, int *jit, void **jit_values,
                                        unsigned jit_count, int *options, void **values, unsigned count) {
    (void)jit, (void)jit_values, (void)jit_count, (void)options, (void)values, (void)count;
    struct stat file;
    CUDA_ENTER(library && path);
    if (stat(path, &file) != 0) return CUDA_ERROR_FILE_NOT_FOUND;
    return load((CUmodule *)library, loading_mode() == EAGER ? cuda_current() : NULL, (uint64_t)file.st_size);
}
CUDA_API CUresult cuLibraryUnload(CUlibrary library) { return cuModuleUnload((CUmodule)library); }
CUDA_API CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
    return cuModuleGetFunction((CUfunction *)kernel, (CUmodule)library, name);
}
CUDA_API CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library) {
    CUDA_ENTER_CONTEXT(context, module && library);
    (void)context;
    pthread_mutex_lock(&cuda.mutex);
    CUresult result = take((CUmodule)library);
    pthread_mutex_unlock(&cuda.mutex);
    *module = (CUmodule)library;
    return result;
}
CUDA_API CUresult cuLibraryGetGlobal(CUdeviceptr *pointer, size_t *size, CUlibrary library,
                                     const char *name) {
    return cuModuleGetGlobal_v2(pointer, size, (CUmodule)library, name);
}
CUDA_API CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel) {
    CUDA_ENTER(function && kernel);
    *function = (CUfunction)kernel;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuFuncLoad(CUfunction function) {
    CUDA_ENTER(function);
    return cuda_code_use(function);
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
CUDA_API CUresult cuKernelGetAttribute(int *value, int attribute, CUkernel kernel, CUdevice device) {
    (void)device;
    return cuFuncGetAttribute(value, attribute, (CUfunction)kernel);
}
CUDA_API CUresult cuKernelSetAttribute(int attribute, int value, CUkernel kernel, CUdevice device) {
    (void)device;
    return cuFuncSetAttribute((CUfunction)kernel, attribute, value);
}
CUDA_API CUresult cuFuncSetCacheConfig(CUfunction function, int config) {
    return cuFuncSetAttribute(function, 0, config);
}
CUDA_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int threads,
                                                              size_t shared) {
    (void)shared;
    CUDA_ENTER(blocks && function && threads > 0);
    *blocks = threads > SIM_THREADS                ? 0
              : SIM_THREADS / threads > SIM_BLOCKS ? SIM_BLOCKS
                                                   : SIM_THREADS / threads;
    return CUDA_SUCCESS;
}
