/*
 * cuGetProcAddress: the driver chooses the version and the stream variant that the caller asked for; we
 * exchange the pointer it returns. So versions, flags and the status stay the driver's own.
 */
#include "hook_lookup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "hooks.h"

/* Versions of a function that came after CUDA 4; the rest of _v2 is as old as 64-bit addresses. */
static const struct {
    const char *symbol;
    int since;
} later[] = {
    {"cuCtxCreate_v3", 11040},
    {"cuCtxCreate_v4", 12050},
    {"cuCtxSynchronize_v2", 13000},
    {"cuDevicePrimaryCtxRelease_v2", 11000},
    {"cuDevicePrimaryCtxReset_v2", 11000},
    {"cuGetProcAddress_v2", 12000},
    {"cuMemAdvise_v2", 12020},
    {"cuMemPrefetchAsync_v2", 12020},
    {"cuMulticastBindAddr_v2", 13010},
    {"cuMulticastBindMem_v2", 13010},
    {"cuStreamBeginCapture_v2", 10010},
};

static int since(const char *symbol, int number) {
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (strcmp(later[i].symbol, symbol) == 0) return later[i].since;
    return number == 1 ? 2000 : 3020;
}

static void spell(char *into, size_t size, const char *name, int number, bool per_thread) {
    if (number > 1)
        snprintf(into, size, "%s_v%d%s", name, number, per_thread ? "_ptsz" : "");
    else
        snprintf(into, size, "%s%s", name, per_thread ? "_ptsz" : "");
}

enum { NEWEST = 9 };

/* Whether the driver exports the function under a version of its name: then it is one that passes. */
static bool is_exported(const char *name, const void *function) {
    char symbol[128];
    for (int number = NEWEST; number >= 1; number--)
        for (int per_thread = 0; per_thread <= 1; per_thread++) {
            spell(symbol, sizeof symbol, name, number, per_thread);
            if (driver_function(symbol) == function) return true;
        }
    return false;
}

/*
 * For a driver that hands out addresses which dlsym does not: the newest version of the name that the
 * caller's CUDA knows, as the driver chooses. cuGraphInstantiate is left alone: its name stands for two
 * different functions.
 */
static void *wrapper_by_name(const char *name, void *function, int version, bool per_thread) {
    char symbol[128];
    for (int number = NEWEST; number >= 1; number--)
        for (int stream = per_thread; stream >= 0; stream--) {
            spell(symbol, sizeof symbol, name, number, false);
            if (since(symbol, number) > version) continue;
            spell(symbol, sizeof symbol, name, number, stream);
            if (!is_wrapped(symbol)) continue;
            bool passes = !strcmp(name, "cuGraphInstantiate") || is_exported(name, function);
            return passes ? NULL : wrapper_of_name(symbol, function);
        }
    return NULL;
}

static void exchange(const char *name, void **function, int version, uint64_t flags) {
    if (!name || !function || !*function) return;
    void *wrapper = wrapper_of_address(*function);
    if (!wrapper)
        wrapper =
            wrapper_by_name(name, *function, version, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
    if (wrapper) *function = wrapper;
}

CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
    cuGetProcAddress_type real = REAL(cuGetProcAddress);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(name, function, version, flags);
    if (result == CUDA_SUCCESS) exchange(name, function, version, flags);
    return result;
}

CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                             CUdriverProcAddressQueryResult *status) {
    cuGetProcAddress_v2_type real = REAL(cuGetProcAddress_v2);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(name, function, version, flags, status);
    if (result == CUDA_SUCCESS) exchange(name, function, version, flags);
    return result;
}
