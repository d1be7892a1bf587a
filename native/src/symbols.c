/*
 * Between a program and the driver's symbols. A program that is linked to the driver reaches our exports
 * because the preload comes first; one that looks symbols up by handle goes through our dlsym and dlvsym.
 * Only lookups of names in the table, on a handle of their own, are answered by us: RTLD_DEFAULT and
 * RTLD_NEXT find our exports anyway, or mean to pass them by, and depend on who asks, so they are tail calls.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "hooks.h"

typedef void *(*dlsym_type)(void *, const char *);
typedef void *(*dlvsym_type)(void *, const char *, const char *);

enum library { LIBRARY_CUDA, LIBRARY_NVML };

static struct {
    const char *name;
    enum library library;
    void *wrapper;
    _Atomic(void *) real;
} hooks[HOOK_COUNT] = {
#define HOOK(library, result, symbol, ...) {#symbol, LIBRARY_##library, (void *)symbol, NULL},
#include "hooks.def"
};

/* glibc's own functions, past every interposer of the same name. The version in which libc has them differs
 * by architecture and by age: libdl's before 2.34, libc's after. */
static void *from_libc(const char *name) {
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.0"};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        void *found = __extension__ dlvsym(RTLD_NEXT, name, versions[i]);
        if (found) return found;
    }
    return NULL;
}

static dlsym_type real_dlsym(void) {
    static _Atomic(void *) found;
    void *function = atomic_load_explicit(&found, memory_order_acquire);
    if (!function) atomic_store(&found, function = from_libc("dlsym"));
    return (dlsym_type)function;
}

/* The loaded driver library; loaded only when the program has it already or calls into it. */
static void *driver_handle(enum library library) {
    static _Atomic(void *) handles[2];
    static const char *const names[] = {"libcuda.so.1", "libnvidia-ml.so.1"};
    void *handle = atomic_load(&handles[library]);
    if (!handle) {
        handle = dlopen(names[library], RTLD_LAZY | RTLD_LOCAL);
        atomic_store(&handles[library], handle);
    }
    return handle;
}

void *driver_function(const char *name) {
    void *handle = driver_handle(strncmp(name, "nvml", 4) == 0 ? LIBRARY_NVML : LIBRARY_CUDA);
    return handle ? real_dlsym()(handle, name) : NULL;
}

void *real_function(int hook) {
    void *real = atomic_load_explicit(&hooks[hook].real, memory_order_acquire);
    if (!real) {
        real = driver_function(hooks[hook].name);
        /* A program may have loaded the driver from elsewhere and found us through its own handle. */
        if (real != hooks[hook].wrapper) atomic_store(&hooks[hook].real, real);
    }
    return real;
}

static int hook_named(const char *name) {
    for (int hook = 0; hook < HOOK_COUNT; hook++)
        if (strcmp(hooks[hook].name, name) == 0) return hook;
    return -1;
}

void *wrapper_of_address(void *function) {
    for (int hook = 0; hook < HOOK_COUNT; hook++)
        if (hooks[hook].library == LIBRARY_CUDA && real_function(hook) == function)
            return hooks[hook].wrapper;
    return NULL;
}

void *wrapper_of_name(const char *name, void *function) {
    int hook = hook_named(name);
    if (hook < 0) return NULL;
    atomic_store(&hooks[hook].real, function);
    return hooks[hook].wrapper;
}

/* Looked up on a handle: the driver's function if we do not wrap it, nothing if the driver has none. */
static void *lookup_on_handle(void *handle, const char *name) {
    void *real = real_dlsym()(handle, name);
    int hook = real ? hook_named(name) : -1;
    if (hook < 0) return real;
    if (real != hooks[hook].wrapper && !atomic_load(&hooks[hook].real)) atomic_store(&hooks[hook].real, real);
    return hooks[hook].wrapper;
}

static bool is_driver_name(const char *name) {
    return name && ((name[0] == 'c' && name[1] == 'u') || strncmp(name, "nvml", 4) == 0);
}

__attribute__((visibility("default"))) void *dlsym(void *handle, const char *name) {
    if (handle == RTLD_DEFAULT || handle == RTLD_NEXT || !is_driver_name(name))
        return real_dlsym()(handle, name); /* a tail call: libc looks at who called */
    return lookup_on_handle(handle, name);
}
