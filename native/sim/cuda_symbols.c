/* cuGetProcAddress: the function of that base name that is right for a CUDA version and kind of default
 * stream. */
#include <string.h>

#include "cuda_core.h"

#define SYMBOL(name, version) extern CUresult name();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include "cuda_symbols.def"
#pragma GCC diagnostic pop
#undef SYMBOL

static const struct symbol {
    const char *name;
    int version; /* the CUDA version that brought it */
    void *address;
} symbols[] = {
#define SYMBOL(name, version) {#name, version, (void *)name},
#include "cuda_symbols.def"
#undef SYMBOL
};

/* Length of "cuMemAlloc" in "cuMemAlloc_v2" and "cuMemAllocAsync_ptsz". */
static size_t base_length(const char *name, bool *per_thread) {
    size_t n = strlen(name);
    *per_thread = n > 5 && (!strcmp(name + n - 5, "_ptsz") || !strcmp(name + n - 5, "_ptds"));
    if (*per_thread) n -= 5;
    if (n > 3 && name[n - 3] == '_' && name[n - 2] == 'v' && name[n - 1] >= '2' && name[n - 1] <= '9') n -= 3;
    return n;
}

static const struct symbol *find(const char *wanted, int version, bool per_thread,
                                 CUdriverProcAddressQueryResult *status) {
    const struct symbol *best = NULL;
    bool best_per_thread = false;
    *status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        const struct symbol *s = &symbols[i];
        bool is_per_thread;
        size_t length = base_length(s->name, &is_per_thread);
        bool exact =
            strcmp(s->name, wanted) == 0; /* real drivers know cuGetProcAddress_v2 by its full name too */
        if (!exact && (strlen(wanted) != length || strncmp(s->name, wanted, length) != 0 ||
                       (is_per_thread && !per_thread)))
            continue;
        if (s->version > version) {
            if (!best) *status = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
            continue;
        }
        bool better = !best || s->version > best->version ||
                      (s->version == best->version && is_per_thread && !best_per_thread);
        if (better) best = s, best_per_thread = is_per_thread;
    }
    if (best) *status = CU_GET_PROC_ADDRESS_SUCCESS;
    return best;
}

CUDA_API CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                                      CUdriverProcAddressQueryResult *status) {
    if (!name || !function || flags > 2) return CUDA_ERROR_INVALID_VALUE;
    CUdriverProcAddressQueryResult found;
    const struct symbol *s =
        find(name, version, flags == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &found);
    *function = s ? s->address : NULL;
    if (status) *status = found;
    return s || status ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
CUDA_API CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
