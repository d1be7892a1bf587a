/*
 * cuGetProcAddress: the driver chooses the version and the stream variant that the caller asked for; we
 * exchange the pointer it returns. So versions, flags and the status stay the driver's own.
 */
#include "hook_lookup.h"

#include <stdio.h>
#include <string.h>

#include "hooks.h"

static void exchange(const char *name, void **function, uint64_t flags) {
    if (!name || !function || !*function) return;
    void *wrapper = wrapper_of_address(*function);
    if (!wrapper && strncmp(name, "cuGetProcAddress", 16) != 0) {
        /* The address is none that dlsym knows: fall back to the name, newest version first. */
        const char *const forms[] = {
            flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM ? "%s_ptsz" : "%s_v2", "%s_v2", "%s"};
        for (size_t i = 0; i < sizeof forms / sizeof *forms && !wrapper; i++) {
            char candidate[128];
            snprintf(candidate, sizeof candidate, forms[i], name);
            wrapper = wrapper_of_name(candidate, *function);
        }
    }
    if (wrapper) *function = wrapper;
}

CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
    cuGetProcAddress_type real = REAL(cuGetProcAddress);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(name, function, version, flags);
    if (result == CUDA_SUCCESS) exchange(name, function, flags);
    return result;
}

CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                             CUdriverProcAddressQueryResult *status) {
    cuGetProcAddress_v2_type real = REAL(cuGetProcAddress_v2);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(name, function, version, flags, status);
    if (result == CUDA_SUCCESS) exchange(name, function, flags);
    return result;
}
