/*
 * Between a program and the driver's symbols. A program that is linked to the driver reaches our exports
 * because the preload comes first; one that looks symbols up by handle goes through our dlsym and dlvsym.
 * Only lookups of names in the table, on a handle of their own, are answered by us, and RTLD_NEXT where it
 * would pass us by. RTLD_DEFAULT and other RTLD_NEXT find our exports and depend on who asks: tail calls.
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "hook_lookup.h"
#include "hooks.h"
#include "libc_symbols.h"
#include "symbols.h"

typedef void *(*dlsym_type)(void *, const char *);
typedef void *(*dlvsym_type)(void *, const char *, const char *);
typedef void *(*dlopen_type)(const char *, int);

void *preload_dlsym(void *handle, const char *name);
void *preload_dlvsym(void *handle, const char *name, const char *version);
void *preload_dlopen(const char *path, int how);

enum library { LIBRARY_CUDA, LIBRARY_NVML };

static struct {
    const char *name;
    enum library library;
    void *wrapper;
} hooks[HOOK_COUNT] = {
#define HOOK(library, result, symbol, ...) {#symbol, LIBRARY_##library, (void *)symbol},
#include "hooks.def"
};

/* Found at the first lookup; the library is complete before any program of it runs. */
#define REAL_OF_LIBC(name)                                                                                   \
    static name##_type real_##name(void) {                                                                   \
        static _Atomic(void *) found;                                                                        \
        void *function = atomic_load_explicit(&found, memory_order_acquire);                                 \
        if (!function) atomic_store(&found, function = libc_symbol(#name));                                  \
        return (name##_type)function;                                                                        \
    }
REAL_OF_LIBC(dlsym)
REAL_OF_LIBC(dlvsym)
REAL_OF_LIBC(dlopen)

static void *open_library(const char *path, int how) {
    dlopen_type real = real_dlopen();
    return real ? real(path, how) : NULL;
}

/* A library whose function a program has found stays loaded, though the program may close it. */
static _Atomic(void *) kept[2];

/* The driver library that the program has found, or is linked to; the calls of one go to no other. */
static const char *const names[] = {"libcuda.so.1", "libnvidia-ml.so.1"};
static _Atomic(void *) handles[2];
static void *driver_handle(enum library library) {
    void *handle = atomic_load(&handles[library]);
    if (!handle) {
        handle = atomic_load(&kept[library]);
        if (!handle) handle = open_library(names[library], RTLD_LAZY | RTLD_LOCAL);
        atomic_store(&handles[library], handle);
    }
    return handle;
}

void *driver_function(const char *name) {
    void *handle = driver_handle(strncmp(name, "nvml", 4) == 0 ? LIBRARY_NVML : LIBRARY_CUDA);
    return handle ? real_dlsym()(handle, name) : NULL;
}

_Atomic(void *) real_functions[HOOK_COUNT];

void *find_real_function(int hook) {
    void *real = driver_function(hooks[hook].name);
    /* A program may have loaded the driver from elsewhere and found us through its own handle. */
    if (real != hooks[hook].wrapper) atomic_store(&real_functions[hook], real);
    return real;
}

static int hook_named(const char *name) {
    for (int hook = 0; hook < HOOK_COUNT; hook++)
        if (strcmp(hooks[hook].name, name) == 0) return hook;
    return -1;
}

/* All real functions are looked up once: those that this driver lacks would be again and again. */
static void resolve_all(void) {
    for (int hook = 0; hook < HOOK_COUNT; hook++)
        if (hooks[hook].library == LIBRARY_CUDA) real_function(hook);
}

void *wrapper_of_address(void *function) {
    static pthread_once_t resolved = PTHREAD_ONCE_INIT;
    pthread_once(&resolved, resolve_all);
    for (int hook = 0; hook < HOOK_COUNT; hook++)
        if (hooks[hook].library == LIBRARY_CUDA && atomic_load(&real_functions[hook]) == function)
            return hooks[hook].wrapper;
    return NULL;
}

bool is_wrapped(const char *name) { return hook_named(name) >= 0; }

void *wrapper_of_name(const char *name, void *function) {
    int hook = hook_named(name);
    if (hook < 0) return NULL;
    atomic_store(&real_functions[hook], function);
    return hooks[hook].wrapper;
}

/* Opened once more where HANDLE is, which may be a namespace of its own. */
static void *open_beside(void *handle, const char *path) {
    Lmid_t where = LM_ID_BASE;
    dlinfo(handle, RTLD_DI_LMID, &where);
    int how = RTLD_LAZY | RTLD_NOLOAD;
    return where == LM_ID_BASE ? open_library(path, how) : dlmopen(where, path, how);
}

static void keep_loaded(enum library library, void *handle, const void *function) {
    Dl_info found;
    void *none = NULL;
    if (atomic_load(&kept[library]) || !dladdr(function, &found)) return;
    void *again = open_beside(handle, found.dli_fname);
    if (!again)
        dlerror(); /* nothing that the program asked for */
    else if (!atomic_compare_exchange_strong(&kept[library], &none, again))
        dlclose(again);
}

void let_go_of_driver(void) {
    if (atomic_load(&handles[LIBRARY_CUDA])) return;
    for (int hook = 0; hook < HOOK_COUNT; hook++)
        if (hooks[hook].library == LIBRARY_CUDA) atomic_store(&real_functions[hook], NULL);
    void *handle = atomic_exchange(&kept[LIBRARY_CUDA], NULL);
    if (handle) dlclose(handle);
}

/* A tool's function, preloaded before us, that finds us in its turn. */
static bool comes_before_us(const char *name, const void *real) {
    void *program = open_library(NULL, RTLD_LAZY);
    return program && real == real_dlsym()(program, name);
}

/* Looked up on a handle: the driver's function if we do not wrap it, nothing if the driver has none. */
static void *exchange(void *handle, const char *name, void *real) {
    int hook = real ? hook_named(name) : -1;
    if (hook < 0 || comes_before_us(name, real)) return real;
    if (real != hooks[hook].wrapper && !atomic_load(&real_functions[hook])) {
        keep_loaded(hooks[hook].library, handle, real);
        atomic_store(&real_functions[hook], real);
    }
    return hooks[hook].wrapper;
}

static bool is_drivers(const char *name) {
    if (name[0] == 'c') return name[1] == 'u';
    return name[0] == 'n' && name[1] == 'v' && name[2] == 'm' && name[3] == 'l';
}

static bool is_ours(const void *handle, const char *name) {
    return handle != RTLD_DEFAULT && handle != RTLD_NEXT && name && is_drivers(name);
}

static bool is_next(const void *handle, const char *name) {
    return handle == RTLD_NEXT && name && is_drivers(name);
}

typedef struct {
    uintptr_t address;
    int place;
} search;

static int holds_address(struct dl_phdr_info *library, size_t size, void *argument) {
    (void)size;
    search *what = argument;
    for (int i = 0; i < library->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &library->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && what->address - library->dlpi_addr - part->p_vaddr < part->p_memsz)
            return 1;
    }
    what->place++;
    return 0;
}

/* The place of the library with this address in the order of loading; -1: of none. */
static int place_of(const void *address) {
    search what = {(uintptr_t)address, 0};
    return dl_iterate_phdr(holds_address, &what) ? what.place : -1;
}

/* RTLD_NEXT means "after me": who was loaded after us would find the driver past us. Ours is the answer only
 * where it leads to the driver at once, or a tool that it leads to might come back to us. */
static void *next(const void *caller, const char *name, const char *version) {
    int hook = hook_named(name), asks = place_of(caller);
    if (hook < 0 || asks < place_of(hooks[hook].wrapper)) return NULL;
    void *driver = open_library(names[hooks[hook].library], RTLD_LAZY | RTLD_NOLOAD);
    if (!driver) return NULL;
    void *real = version ? real_dlvsym()(driver, name, version) : real_dlsym()(driver, name);
    void *ours = exchange(driver, name, real);
    bool leads_there = real && known_function(hook) == real && place_of(real) != asks;
    dlclose(driver);
    return leads_there ? ours : NULL;
}

/*
 * Tail calls, as libc looks at who called. Without libc's functions, which is never seen with glibc, nothing
 * is found. They are exported under each version that programs ask for: 2.2.5 (x86-64) and 2.17 (aarch64) are
 * libdl's, 2.34 is libc's (libvgpu.map).
 */
void *preload_dlsym(void *handle, const char *name) {
    dlsym_type real = real_dlsym();
    if (!real) return NULL;
    if (is_ours(handle, name)) return exchange(handle, name, real(handle, name));
    void *ours = is_next(handle, name) ? next(__builtin_return_address(0), name, NULL) : NULL;
    return ours ? ours : real(handle, name);
}

void *preload_dlvsym(void *handle, const char *name, const char *version) {
    dlvsym_type real = real_dlvsym();
    if (!real) return NULL;
    if (is_ours(handle, name)) return exchange(handle, name, real(handle, name, version));
    void *ours = is_next(handle, name) ? next(__builtin_return_address(0), name, version) : NULL;
    return ours ? ours : real(handle, name, version);
}

/* Libc looks at who called where a path has variables or no slash, too. */
void *preload_dlopen(const char *path, int how) {
    dlopen_type real = real_dlopen();
    if (!real) return NULL;
    if (!(how & RTLD_DEEPBIND) || !path || !strchr(path, '/') || strchr(path, '$')) return real(path, how);
    void *handle = real(path, how);
    if (handle) turn_to_us(handle);
    return handle;
}

static const struct {
    const char *name;
    void *ours;
} of_libc[] = {
    {"dlsym", (void *)preload_dlsym},
    {"dlvsym", (void *)preload_dlvsym},
    {"dlopen", (void *)preload_dlopen},
};

void *exported_function(const char *name) {
    for (size_t i = 0; i < sizeof of_libc / sizeof *of_libc; i++)
        if (strcmp(of_libc[i].name, name) == 0) return of_libc[i].ours;
    int hook = is_drivers(name) ? hook_named(name) : -1;
    return hook < 0 ? NULL : hooks[hook].wrapper;
}

void *exported_function_of_others(const char *name) {
    return is_drivers(name) ? driver_function(name) : libc_symbol(name);
}

/* A program that has the limiter linked in, for sanitizers, leaves them alone: these call dlsym before all
 * else. */
#ifndef LINKED
#define EXPORT(function, form, version)                                                                      \
    extern __typeof__(preload_##function) preload_##function##form                                           \
        __attribute__((alias("preload_" #function), visibility("default")));                                 \
    __asm__(".symver preload_" #function #form ", " #function version)

EXPORT(dlsym, _x86, "@GLIBC_2.2.5");
EXPORT(dlsym, _arm, "@GLIBC_2.17");
EXPORT(dlsym, _new, "@@GLIBC_2.34");
EXPORT(dlvsym, _x86, "@GLIBC_2.2.5");
EXPORT(dlvsym, _arm, "@GLIBC_2.17");
EXPORT(dlvsym, _new, "@@GLIBC_2.34");
EXPORT(dlopen, _x86, "@GLIBC_2.2.5");
EXPORT(dlopen, _arm, "@GLIBC_2.17");
EXPORT(dlopen, _new, "@@GLIBC_2.34");
#endif
