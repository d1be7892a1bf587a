/*
 * hooks LEDGER IMAGE: calls every entry point of hooks.def and looks into the share's ledger whether it does
 * what it is wrapped for: what takes memory is counted and refused as a full card refuses, what frees it
 * gives back the same, what launches is counted as work, what tells tells of the share. Says which of them
 * nothing is known of here; IMAGE is a file as large as SIZE. Run with the limiter preloaded, in a share of
 * less than 4 GiB.
 */
#include <dlfcn.h>

#include "hooks.h"

const char *tried, *image_file;
const ledger_file *book;
CUcontext context;
CUstream stream;
size_t limit;
nvmlDevice_t card;
static void *cuda, *nvml;

void *found(const char *name) {
    void *function = dlsym(name[0] == 'n' ? nvml : cuda, name);
    if (!function) fprintf(stderr, "the driver has no %s\n", name);
    CHECK(function);
    return function;
}

void takes(CUresult (*take)(void), CUresult (*give)(void), uint64_t bytes) {
    size_t available, total;
    CUdeviceptr rest;
    uint64_t before = counted();
    CHECK_IT(take() == CUDA_SUCCESS && counted() == before + bytes);
    CHECK_IT(give() == CUDA_SUCCESS && counted() == before);
    CHECK(CALL(cuMemGetInfo_v2)(&available, &total) == CUDA_SUCCESS);
    CHECK(CALL(cuMemAlloc_v2)(&rest, available - bytes / 2) == CUDA_SUCCESS);
    uint64_t full = counted();
    CHECK_IT(take() == CUDA_ERROR_OUT_OF_MEMORY && counted() == full);
    CHECK(CALL(cuMemFree_v2)(rest) == CUDA_SUCCESS && counted() == before);
}

/* Every entry point with its probe, where there is one. */
#define HOOK(library, result, symbol, ...) extern void probe_##symbol(void) __attribute__((weak));
#include "../src/hooks.def"
static const struct {
    const char *name;
    void (*probe)(void);
} hooks[] = {
#define HOOK(library, result, symbol, ...) {#symbol, probe_##symbol},
#include "../src/hooks.def"
};

static void begin(const char *ledger_path) {
    int fd = open(ledger_path, O_RDONLY);
    book = mmap(NULL, LEDGER_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    CHECK(fd >= 0 && book != MAP_FAILED && cuda && nvml);
    CHECK(CALL(cuInit)(0) == CUDA_SUCCESS);
    CHECK(book->slots[0].pid == (uint32_t)getpid()); /* before the driver opens anything */
    CHECK(CALL(nvmlInitWithFlags)(0) == NVML_SUCCESS && CALL(nvmlInit)() == NVML_SUCCESS);
    nvmlReturn_t (*by_index)(unsigned, nvmlDevice_t *) = found("nvmlDeviceGetHandleByIndex_v2");
    CHECK(CALL(nvmlInit_v2)() == NVML_SUCCESS && by_index(0, &card) == NVML_SUCCESS);

    size_t available;
    CUresult (*create_stream)(CUstream *, unsigned) = found("cuStreamCreate");
    CHECK(CALL(cuCtxCreate_v2)(&context, 0, 0) == CUDA_SUCCESS && create_stream(&stream, 1) == CUDA_SUCCESS);
    CHECK(CALL(cuMemGetInfo_v2)(&available, &limit) == CUDA_SUCCESS);
    begin_work();
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    image_file = argv[2];
    begin(argv[1]);
    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
        tried = hooks[i].name;
        if (hooks[i].probe)
            hooks[i].probe();
        else
            printf("%s\n", tried);
    }
    return 0;
}
