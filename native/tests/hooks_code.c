/* Code, and contexts with what they set aside. */
#include "hooks.h"

enum { CONTEXT = 256 * MIB, HEAP = 8 * MIB };
static CUmodule module;
static CUlibrary library;
static CUfunction function;
static CUcontext other;
static CUgreenCtx green;

/* Code, that is loaded at the latest when it is first launched. */
static char elf[64] __attribute__((aligned(8))) = "\177ELF";
static const void *image(void) {
    memcpy(elf + 40, &(uint64_t){SIZE}, sizeof(uint64_t));
    return elf;
}
static CUresult runs(void) { return CALL(cuLaunchKernel)(function, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL); }
static CUresult or_unload_module(CUresult result) {
    if (result) CALL(cuModuleUnload)(module);
    return result;
}
static CUresult or_unload_library(CUresult result) {
    if (result) CALL(cuLibraryUnload)(library);
    return result;
}
static CUresult run_of_module(CUresult loaded) {
    if (loaded) return loaded;
    CUresult result = CALL(cuModuleGetFunction)(&function, module, "busy_ns_1");
    return or_unload_module(result ? result : runs());
}
static CUresult run_of_library(CUresult loaded) {
    if (loaded) return loaded;
    CUresult result = CALL(cuLibraryGetKernel)((CUkernel *)&function, library, "busy_ns_1");
    return or_unload_library(result ? result : runs());
}
#define MODULE(symbol, load)  TAKES(symbol, SIZE, run_of_module(load), CALL(cuModuleUnload)(module))
#define LIBRARY(symbol, load) TAKES(symbol, SIZE, run_of_library(load), CALL(cuLibraryUnload)(library))
MODULE(cuModuleLoad, CALL(cuModuleLoad)(&module, image_file))
MODULE(cuModuleLoadData, CALL(cuModuleLoadData)(&module, image()))
MODULE(cuModuleLoadDataEx, CALL(cuModuleLoadDataEx)(&module, image(), 0, NULL, NULL))
MODULE(cuModuleLoadFatBinary, CALL(cuModuleLoadFatBinary)(&module, image()))
SEE(cuModuleUnload, cuModuleLoadData)
SEE(cuModuleGetFunction, cuModuleLoadData)
static CUresult load_library(void) {
    return CALL(cuLibraryLoadData)(&library, image(), NULL, NULL, 0, NULL, NULL, 0);
}
LIBRARY(cuLibraryLoadData, load_library())
LIBRARY(cuLibraryLoadFromFile,
        CALL(cuLibraryLoadFromFile)(&library, image_file, NULL, NULL, 0, NULL, NULL, 0))
SEE(cuLibraryUnload, cuLibraryLoadData)
SEE(cuLibraryGetKernel, cuLibraryLoadData)
static CUresult module_of_library(void) {
    CUresult result = load_library();
    return result ? result : or_unload_library(CALL(cuLibraryGetModule)(&module, library));
}
TAKES(cuLibraryGetModule, SIZE, module_of_library(), CALL(cuLibraryUnload)(library))
static CUresult function_of_kernel(void) {
    CUkernel kernel;
    CUresult result = load_library();
    if (result) return result;
    result = CALL(cuLibraryGetKernel)(&kernel, library, "busy_ns_1");
    if (!result) result = CALL(cuKernelGetFunction)(&function, kernel);
    return or_unload_library(result ? result : runs());
}
TAKES(cuKernelGetFunction, SIZE, function_of_kernel(), CALL(cuLibraryUnload)(library))
static CUresult loaded_function(void) {
    CUresult result = CALL(cuModuleLoadData)(&module, image());
    if (result) return result;
    result = CALL(cuModuleGetFunction)(&function, module, "busy_ns_1");
    return or_unload_module(result ? result : CALL(cuFuncLoad)(function));
}
TAKES(cuFuncLoad, SIZE, loaded_function(), CALL(cuModuleUnload)(module))

TAKES(cuCtxSetLimit, SIZE, CALL(cuCtxSetLimit)(CU_LIMIT_MALLOC_HEAP_SIZE, HEAP + SIZE),
      CALL(cuCtxSetLimit)(CU_LIMIT_MALLOC_HEAP_SIZE, HEAP))

#define CONTEXTS(symbol, destroy, ...)                                                                       \
    TAKES(symbol, CONTEXT, CALL(symbol)(&other, __VA_ARGS__), CALL(destroy)(other))
CONTEXTS(cuCtxCreate, cuCtxDestroy, 0, 0)
CONTEXTS(cuCtxCreate_v2, cuCtxDestroy_v2, 0, 0)
CONTEXTS(cuCtxCreate_v3, cuCtxDestroy_v2, NULL, 0, 0, 0)
CONTEXTS(cuCtxCreate_v4, cuCtxDestroy_v2, NULL, 0, 0)
SEE(cuCtxDestroy, cuCtxCreate)
SEE(cuCtxDestroy_v2, cuCtxCreate_v2)
TAKES(cuCtxDetach, CONTEXT, CALL(cuCtxCreate_v2)(&other, 0, 0), CALL(cuCtxDetach)(other))
static CUresult attached(void) {
    CUresult result = CALL(cuCtxCreate_v2)(&other, 0, 0);
    return result ? result : CALL(cuCtxAttach)(&other, 0);
}
static CUresult detached(void) {
    uint64_t before = counted();
    CHECK_IT(CALL(cuCtxDetach)(other) == CUDA_SUCCESS && counted() == before);
    return CALL(cuCtxDetach)(other);
}
TAKES(cuCtxAttach, CONTEXT, attached(), detached())
#define PRIMARY(end) TAKES(end, CONTEXT, CALL(cuDevicePrimaryCtxRetain)(&other, 0), CALL(end)(0))
PRIMARY(cuDevicePrimaryCtxRelease)
PRIMARY(cuDevicePrimaryCtxRelease_v2)
PRIMARY(cuDevicePrimaryCtxReset)
PRIMARY(cuDevicePrimaryCtxReset_v2)
SEE(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRelease_v2)
TAKES(cuGreenCtxCreate, CONTEXT, CALL(cuGreenCtxCreate)(&green, NULL, 0, 1), CALL(cuGreenCtxDestroy)(green))
SEE(cuGreenCtxDestroy, cuGreenCtxCreate)
