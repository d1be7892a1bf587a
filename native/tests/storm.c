/*
 * storm SECONDS SEED [KIND...]: allocates and frees memory of the card in every way there is, at random and
 * as fast as it can, until it is refused and beyond; on a busy machine for longer. Then it frees all, says
 * "idle" and waits for its input to end: what the limiter counts and what the driver holds must be the same
 * then. Loads the driver by name, as programs do. STORM_THREADS=N: as N threads.
 */
#include <dlfcn.h>
#include <pthread.h>

#include "storm.h"

#define F(name, symbol, parameters) CUresult(*name) parameters;
FUNCTIONS
#undef F

static void load(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    CHECK(library);
#ifdef LINKED /* with the limiter in this program: what it wraps is found here first */
    void *self = dlopen(NULL, RTLD_NOW);
#define F(name, symbol, parameters)                                                                          \
    if (!(*(void **)&name = dlsym(self, #symbol))) CHECK((*(void **)&name = dlsym(library, #symbol)));
#else
#define F(name, symbol, parameters) CHECK((*(void **)&name = dlsym(library, #symbol)));
#endif
    FUNCTIONS
#undef F
}

static _Thread_local unsigned seed;
unsigned random_below(unsigned most) { return (unsigned)rand_r(&seed) % most; }
static size_t random_size(void) {
    static const size_t scale[] = {512, 64 * KIB, MIB, 16 * MIB};
    return (1 + random_below(64)) * scale[random_below(4)] - random_below(2) * 100;
}
size_t random_pages(void) { return (size_t)(1 + random_below(64)) * 2 * MIB; }

bool granted(CUresult result) {
    CHECK(result == CUDA_SUCCESS || result == CUDA_ERROR_OUT_OF_MEMORY);
    return result == CUDA_SUCCESS;
}
void well(CUresult result) {
    if (result != CUDA_SUCCESS) fprintf(stderr, "CUDA error %d\n", result);
    CHECK(result == CUDA_SUCCESS);
}

static CUcontext primary;
static _Thread_local CUstream stream;

/* Either way, whichever way it was allocated. */
static void free_plain(struct held *h) { well(cuMemFree(h->a)); }
static void free_async(struct held *h) {
    well(cuMemFreeAsync(h->a, stream));
    if (random_below(2)) well(cuStreamSynchronize(stream));
}
static void plain(struct held *h) {
    if (granted(cuMemAlloc(&h->a, random_size()))) h->free = random_below(4) ? free_plain : free_async;
}
static void managed(struct held *h) {
    if (granted(cuMemAllocManaged(&h->a, random_size(), CU_MEM_ATTACH_GLOBAL))) h->free = free_plain;
}
static void pitched(struct held *h) {
    size_t pitch;
    if (granted(cuMemAllocPitch(&h->a, &pitch, 1 + random_below(5000), 1 + random_below(5000), 4)))
        h->free = free_plain;
}

static void async(struct held *h) {
    if (granted(cuMemAllocAsync(&h->a, random_size(), stream)))
        h->free = random_below(4) ? free_async : free_plain;
}

static void free_pool(struct held *h) {
    bool early = random_below(2); /* memory that is out outlives its pool */
    if (early) well(cuMemPoolDestroy((CUmemoryPool)h->b));
    well(cuMemFree(h->a));
    if (!early) well(cuMemPoolDestroy((CUmemoryPool)h->b));
}
static void pool(struct held *h) {
    CUmemoryPool created;
    unsigned long long keep = UINT64_MAX;
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                            .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    if (!granted(cuMemPoolCreate(&created, &props))) return;
    well(cuMemPoolSetAttribute(created, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep));
    CUdeviceptr second;
    if (granted(cuMemAllocFromPoolAsync(&second, random_size(), created, stream))) {
        well(cuMemFreeAsync(second, stream));
        well(cuStreamSynchronize(stream)); /* the pool keeps it, and serves the next from it */
        if (random_below(2)) well(cuMemPoolTrimTo(created, 0));
    }
    if (granted(cuMemAllocFromPoolAsync(&h->a, random_size(), created, stream)))
        h->b = (uintptr_t)created, h->free = free_pool;
    else
        well(cuMemPoolDestroy(created));
}

/* Of managed memory, wherever it prefers to be: the driver may bring it to the card. */
static CUmemoryPool managed_default(void) {
    CUmemoryPool standard;
    CUmemLocation anywhere = {CU_MEM_LOCATION_TYPE_NONE, 0};
    well(cuMemGetDefaultMemPool(&standard, &anywhere, CU_MEM_ALLOCATION_TYPE_MANAGED));
    return standard;
}
static void managed_pool(struct held *h) {
    static const CUmemLocationType preferred[] = {CU_MEM_LOCATION_TYPE_NONE, CU_MEM_LOCATION_TYPE_DEVICE,
                                                  CU_MEM_LOCATION_TYPE_HOST, CU_MEM_LOCATION_TYPE_HOST_NUMA};
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_MANAGED,
                            .location = {preferred[random_below(4)], 0}};
    CUmemoryPool created;
    if (random_below(2)) {
        if (granted(cuMemAllocFromPoolAsync(&h->a, random_size(), managed_default(), stream)))
            h->free = free_async;
        return;
    }
    if (!granted(cuMemPoolCreate(&created, &props))) return;
    if (granted(cuMemAllocFromPoolAsync(&h->a, random_size(), created, stream)))
        h->b = (uintptr_t)created, h->free = free_pool;
    else
        well(cuMemPoolDestroy(created));
}

static CUDA_ARRAY3D_DESCRIPTOR random_shape(void) {
    return (CUDA_ARRAY3D_DESCRIPTOR){.Width = 1 + random_below(4000),
                                     .Height = 1 + random_below(1000),
                                     .Format = CU_AD_FORMAT_FLOAT,
                                     .NumChannels = 1 + random_below(4)};
}
static void free_array(struct held *h) { well(cuArrayDestroy((CUarray)h->a)); }
static void array(struct held *h) {
    CUDA_ARRAY3D_DESCRIPTOR shape = random_shape();
    if (granted(cuArray3DCreate((CUarray *)&h->a, &shape))) h->free = free_array;
}
static void free_mipmap(struct held *h) { well(cuMipmappedArrayDestroy((CUmipmappedArray)h->a)); }
static void mipmap(struct held *h) {
    CUDA_ARRAY3D_DESCRIPTOR shape = random_shape();
    if (granted(cuMipmappedArrayCreate((CUmipmappedArray *)&h->a, &shape, 4))) h->free = free_mipmap;
}

static void free_external(struct held *h) { well(cuDestroyExternalMemory((CUexternalMemory)h->a)); }
static void external(struct held *h) {
    CUDA_EXTERNAL_MEMORY_HANDLE_DESC description = {.type = 1, .handle.fd = 0, .size = random_size()};
    if (granted(cuImportExternalMemory((CUexternalMemory *)&h->a, &description))) h->free = free_external;
}

static void free_graph(struct held *h) {
    well(cuGraphExecDestroy((CUgraphExec)h->a));
    well(cuGraphDestroy((CUgraph)h->b));
    if (h->c) well(cuMemFree(h->c)); /* it outlives its graph */
    if (random_below(2)) well(cuDeviceGraphMemTrim(0));
}
static void graph(struct held *h) {
    CUgraph made;
    CUgraphNode node;
    CUdeviceptr left = 0;
    if (random_below(2)) { /* captured from stream-ordered allocations */
        CUdeviceptr pointer;
        well(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
        well(cuMemAllocAsync(&pointer, random_size(), stream));
        well(cuMemFreeAsync(pointer, stream));
        well(cuStreamEndCapture(stream, &made));
    } else {
        CUDA_MEM_ALLOC_NODE_PARAMS params = {.bytesize = random_size(),
                                             .poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
        well(cuGraphCreate(&made, 0));
        well(cuGraphAddMemAllocNode(&node, made, NULL, 0, &params));
        left = params.dptr;
    }
    h->b = (uintptr_t)made;
    if (!granted(cuGraphInstantiate((CUgraphExec *)&h->a, made, 0))) {
        well(cuGraphDestroy(made));
        return;
    }
    h->free = free_graph;
    h->c = random_below(4) && granted(cuGraphLaunch((CUgraphExec)h->a, stream)) ? left : 0;
}

/* A context ends with everything that was allocated in it. */
static void free_context(struct held *h) { well(cuCtxDestroy((CUcontext)h->a)); }
static void context(struct held *h) {
    CUdeviceptr forgotten;
    if (!granted(cuCtxCreate((CUcontext *)&h->a, 0, 0))) return;
    granted(cuMemAlloc(&forgotten, random_size()));
    granted(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, random_size()));
    granted(cuCtxSetLimit((int)random_below(8), random_size())); /* most take nothing */
    well(cuCtxPopCurrent(NULL));
    h->free = free_context;
}

/* With the primary context closed the green one opens it, and closes it at the end. */
static void free_green(struct held *h) { well(cuGreenCtxDestroy((CUgreenCtx)h->a)); }
static void green(struct held *h) {
    if (granted(cuGreenCtxCreate((CUgreenCtx *)&h->a, NULL, 0, 1))) h->free = free_green;
}

/* An image by its first bytes alone, of which nobody here reads more. */
static const void *random_image(void) {
    static _Thread_local _Alignas(8) char elf[64] = "\177ELF";
    uint64_t size = random_size();
    memcpy(elf + 40, &size, sizeof size);
    return elf;
}
static void run(CUfunction function) {
    for (int times = 0; times < 2; times++)
        granted(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
}
static void free_module(struct held *h) { well(cuModuleUnload((CUmodule)h->a)); }
static void module(struct held *h) {
    CUfunction function;
    if (!granted(cuModuleLoadData((CUmodule *)&h->a, random_image()))) return;
    h->free = free_module;
    if (granted(cuModuleGetFunction(&function, (CUmodule)h->a, "busy_ns_1"))) run(function);
}
static void free_library(struct held *h) { well(cuLibraryUnload((CUlibrary)h->a)); }
static void library(struct held *h) {
    CUkernel kernel;
    CUmodule in_context;
    if (!granted(cuLibraryLoadData((CUlibrary *)&h->a, random_image(), NULL, NULL, 0, NULL, NULL, 0))) return;
    h->free = free_library;
    if (random_below(2))
        granted(cuLibraryGetModule(&in_context, (CUlibrary)h->a));
    else if (granted(cuLibraryGetKernel(&kernel, (CUlibrary)h->a, "busy_ns_1")))
        run((CUfunction)kernel);
}

static const struct kind {
    const char *name;
    void (*allocate)(struct held *);
} kinds[] = {{"plain", plain},     {"managed", managed},   {"pitched", pitched},
             {"async", async},     {"pool", pool},         {"managed_pool", managed_pool},
             {"mapping", mapping}, {"exported", exported}, {"multicast", multicast},
             {"array", array},     {"mipmap", mipmap},     {"external", external},
             {"graph", graph},     {"context", context},   {"green", green},
             {"module", module},   {"library", library}};
enum { KINDS = sizeof kinds / sizeof *kinds, HELD = 24, LEAST_TRIED = 400 };

static bool wanted(const struct kind *kind, char **names) {
    if (!*names) return true;
    for (; *names; names++)
        if (!strcmp(*names, kind->name)) return true;
    return false;
}

enum { MOST_THREADS = 16 };

typedef struct {
    unsigned seed;
    double until;
    char **names;
    unsigned long granted, refused;
} work;

static void *allocate_and_free(void *argument) {
    work *self = argument;
    struct held held[HELD] = {0};
    seed = self->seed;
    well(cuCtxSetCurrent(primary));
    well(cuStreamCreate(&stream, 1));
    while (seconds() < self->until || self->granted + self->refused < LEAST_TRIED) {
        struct held *h = &held[random_below(HELD)];
        const struct kind *kind = &kinds[random_below(KINDS)];
        if (h->free) {
            h->free(h);
            h->free = NULL;
        } else if (wanted(kind, self->names)) {
            kind->allocate(h);
            *(h->free ? &self->granted : &self->refused) += 1;
        }
    }
    for (int i = 0; i < HELD; i++)
        if (held[i].free) held[i].free(&held[i]);
    return NULL;
}

int main(int argc, char **argv) {
    const char *wanted_threads = getenv("STORM_THREADS");
    int threads = wanted_threads ? atoi(wanted_threads) : 1;
    CHECK(argc >= 3 && threads >= 1 && threads <= MOST_THREADS);
    load();
    well(cuInit(0));
    for (int tries = 0; !granted(cuDevicePrimaryCtxRetain(&primary, 0)); tries++) {
        CHECK(tries < 1000); /* with HAMI_SIM_FAIL_EVERY one fails now and then */
        usleep(1000);
    }
    printf("ready\n");
    fflush(stdout);
    CHECK(getchar() == '\n');
    double until = seconds() + atof(argv[1]);

    work each[MOST_THREADS], all = {0};
    pthread_t others[MOST_THREADS];
    for (int i = 0; i < threads; i++) {
        each[i] = (work){(unsigned)(atoi(argv[2]) + 1000 * i), until, argv + 3, 0, 0};
        if (i > 0) CHECK(pthread_create(&others[i], NULL, allocate_and_free, &each[i]) == 0);
    }
    allocate_and_free(&each[0]);
    for (int i = 0; i < threads; i++) {
        if (i > 0) CHECK(pthread_join(others[i], NULL) == 0);
        all.granted += each[i].granted;
        all.refused += each[i].refused;
    }
    CUmemoryPool standard;
    well(cuDeviceGetDefaultMemPool(&standard, 0));
    well(cuCtxSynchronize());
    well(cuMemPoolTrimTo(standard, 0));
    well(cuMemPoolTrimTo(managed_default(), 0));
    well(cuDeviceGraphMemTrim(0));
    look_at_descriptors();
    printf("granted %lu, refused %lu\nidle\n", all.granted, all.refused);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}
