/*
 * lookup: every way in which programs find the driver's functions ends at the limiter, and nothing else does.
 * Run with the limiter preloaded; LIMITER names it.
 */
#include <dlfcn.h>
#include <limits.h>

#include "../include/cuda_abi.h"
#include "check.h"

typedef void *(*dlsym_type)(void *, const char *);
typedef void *(*dlvsym_type)(void *, const char *, const char *);
typedef CUresult (*get_type)(const char *, void **, int, uint64_t);
typedef CUresult (*get_v2_type)(const char *, void **, int, uint64_t, CUdriverProcAddressQueryResult *);

static bool is_limiters(const void *function) {
    Dl_info info;
    return function && dladdr(function, &info) && strstr(info.dli_fname, "libvgpu.so");
}
static bool is_drivers(const void *function) {
    Dl_info info;
    return function && dladdr(function, &info) && strstr(info.dli_fname, "libcuda.so.1");
}

static void by_handle(void *cuda) {
    CHECK(is_limiters(dlsym(cuda, "cuMemAlloc_v2")));
    CHECK(is_limiters(dlsym(cuda, "cuMemAllocAsync_ptsz")));
    CHECK(is_drivers(dlsym(cuda, "cuMemcpyHtoD_v2"))); /* passes */
    CHECK(!dlsym(cuda, "cuNoSuchThing") && dlerror());
    CHECK(!dlsym(cuda, "cuGLCtxCreate")); /* the simulated driver has none, and we do not pretend */
    CHECK(!is_limiters(dlsym(cuda, "getpid")));
}

/* Programs of older and newer C libraries ask for different versions of dlsym; tracers ask for it by name. */
static void by_every_dlsym(void *cuda) {
    static const char *const versions[] = {"GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.34"};
    void *limiter = dlopen(getenv("LIMITER"), RTLD_NOW | RTLD_NOLOAD);
    CHECK(limiter);
    for (int i = 0; i < 3; i++) {
        dlsym_type each = (dlsym_type)dlvsym(RTLD_DEFAULT, "dlsym", versions[i]);
        dlvsym_type other = (dlvsym_type)dlvsym(limiter, "dlvsym", versions[i]);
        CHECK(is_limiters((void *)each) && is_limiters((void *)other));
        CHECK(is_limiters(each(cuda, "cuMemAlloc_v2")));
        CHECK(!other(cuda, "cuMemAlloc_v2", "NO_SUCH_VERSION"));
    }
    dlsym_type next = (dlsym_type)dlsym(RTLD_NEXT, "dlsym");
    CHECK(next && next(RTLD_DEFAULT, "getpid") == dlsym(RTLD_DEFAULT, "getpid"));
    dlsym_type unversioned = (dlsym_type)dlsym(RTLD_DEFAULT, "dlsym");
    CHECK(is_limiters(unversioned(cuda, "cuMemFree_v2")));
}

/* RTLD_NEXT means "after me": for the program that is the limiter, which comes first of all libraries. */
static void by_order_of_loading(void) {
    void *global = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    CHECK(global);
    CHECK(is_limiters(dlsym(RTLD_DEFAULT, "cuMemAlloc_v2")));
    CHECK(is_limiters(dlsym(RTLD_NEXT, "cuMemAlloc_v2")));
    CHECK(is_limiters(dlsym(dlopen(NULL, RTLD_NOW), "cuMemAlloc_v2")));
    CHECK(is_drivers(dlsym(RTLD_DEFAULT, "cuMemcpyHtoD_v2")));
}

/* As the statically linked runtime does it: one lookup by handle, everything else by that. */
static void by_the_driver(void *cuda) {
    get_type get = (get_type)dlsym(cuda, "cuGetProcAddress");
    get_v2_type get_v2 = (get_v2_type)dlsym(cuda, "cuGetProcAddress_v2");
    CUdriverProcAddressQueryResult status = 9;
    void *found, *again;
    CHECK(is_limiters((void *)get) && is_limiters((void *)get_v2));
    static const struct {
        const char *name, *symbol;
        int version;
        uint64_t flags;
    } asked[] = {
        {"cuMemAlloc", "cuMemAlloc_v2", 12000, 0},
        {"cuMemAllocAsync", "cuMemAllocAsync", 12000, 0},
        {"cuMemAllocAsync", "cuMemAllocAsync_ptsz", 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM},
        {"cuCtxCreate", "cuCtxCreate_v2", 11000, 0},
        {"cuCtxCreate", "cuCtxCreate_v3", 12000, 0},
        {"cuCtxCreate", "cuCtxCreate_v4", 12050, 0},
        {"cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2", 12000, 0},
        {"cuGetProcAddress", "cuGetProcAddress_v2", 12000, 0},
    };
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        CHECK(get_v2(asked[i].name, &found, asked[i].version, asked[i].flags, &status) == CUDA_SUCCESS);
        CHECK(status == CU_GET_PROC_ADDRESS_SUCCESS && is_limiters(found));
        if (found != dlsym(cuda, asked[i].symbol))
            fprintf(stderr, "%s %d\n", asked[i].name, asked[i].version);
        CHECK(found == dlsym(cuda, asked[i].symbol));
        CHECK(get(asked[i].name, &again, asked[i].version, asked[i].flags) == CUDA_SUCCESS && again == found);
    }
    CHECK(get_v2("cuMemcpyHtoD", &found, 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status) == 0);
    CHECK(is_drivers(found) && found == dlsym(cuda, "cuMemcpyHtoD_v2_ptds"));
    CHECK(get_v2("cuNoSuchThing", &found, 12000, 0, &status) == CUDA_SUCCESS && !found);
    CHECK(status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    CHECK(get_v2("cuMemAllocAsync", &found, 10000, 0, &status) == CUDA_SUCCESS && !found);
    CHECK(status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    CHECK(get_v2(NULL, &found, 12000, 0, &status) == CUDA_ERROR_INVALID_VALUE);
    CHECK(get_v2("cuMemAlloc", NULL, 12000, 0, &status) == CUDA_ERROR_INVALID_VALUE);
    CHECK(get_v2("cuMemAlloc", &found, 12000, 0, NULL) == CUDA_SUCCESS && is_limiters(found));
}

int main(void) {
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    CHECK(cuda);
    by_handle(cuda);
    by_handle(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND));
    by_every_dlsym(cuda);
    by_the_driver(cuda);
    by_order_of_loading();
    printf("found\n");
    return 0;
}
