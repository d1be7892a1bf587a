/* The table of hooks.def as declarations: each wrapper, its type, and the call of the real function. */
#pragma once

#include <stdatomic.h>

#include "../include/cuda_abi.h"
#include "../include/nvml_abi.h"

enum {
#define HOOK(library, result, symbol, ...) HOOK_##symbol,
#include "hooks.def"
    HOOK_COUNT
};

#define HOOK(library, result, symbol, ...)                                                                   \
    typedef result(*symbol##_type) __VA_ARGS__;                                                              \
    __attribute__((visibility("default"))) result symbol __VA_ARGS__;
#include "hooks.def"

/* The driver's own functions as far as they were looked up. */
extern _Atomic(void *) real_functions[HOOK_COUNT];
void *find_real_function(int hook);

/* The driver's own function, NULL as long as it was not looked up. */
static inline void *known_function(int hook) {
    return atomic_load_explicit(&real_functions[hook], memory_order_acquire);
}

/* The driver's own function, resolved at the first call; NULL when this driver has none. */
static inline void *real_function(int hook) {
    void *real = known_function(hook);
    return __builtin_expect(real != NULL, 1) ? real : find_real_function(hook);
}
#define REAL(symbol) ((symbol##_type)real_function(HOOK_##symbol))

/* Which stream NULL means, of a function's plain form and of its _ptsz. */
static inline CUstream legacy(CUstream stream) { return stream ? stream : CU_STREAM_LEGACY; }
static inline CUstream per_thread(CUstream stream) { return stream ? stream : CU_STREAM_PER_THREAD; }

/* A driver function that is not wrapped, by library and name; NULL when there is none. */
void *driver_function(const char *name);

/* The same where it is asked for often: it is kept in FOUND. */
static inline void *kept_function(_Atomic(void *) *found, const char *name) {
    void *function = atomic_load_explicit(found, memory_order_acquire);
    if (!function) atomic_store(found, function = driver_function(name));
    return function;
}

/* A driver that does not begin may be closed, and another one opened; unless more of it was used already. */
void let_go_of_driver(void);
