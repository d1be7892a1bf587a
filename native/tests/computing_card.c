/* The card of the tests' own, its driver and its clock; and a budget that needs no files. */
#include "computing.h"

#include "../src/background.h"
#include "../src/cards.h"
#include "../src/hook_module.h"

enum { CALL_NS = 2000, LOOK_NS = 1000000 };

struct CUevent_st {
    uint64_t at;
};

static struct CUctx_st {
    char any;
} first_context;
static struct CUstream_st legacy_stream, per_thread_stream;

test_card gpu = {
    .now = LATER, .stretch = 1, .events = INT32_MAX, .records = INT32_MAX, .context = &first_context};
ledger_file account;
share only = {.book = {.file = &account}};
bool no_ledger;
int budgets = 1;
static budget all[] = {{.count = 1, .shares = {&only}}, {.count = 1, .shares = {&only}}};

/* --- What the limiter asks its other parts for -----------------------------------------------------------
 */

budget *budget_all(int *count) {
    *count = budgets;
    return all;
}
void budget_refresh(void) {}
int ledger_attach(ledger *self) {
    (void)self;
    return no_ledger ? -EROFS : 0;
}
bool cards_are_limited(void) { return budgets > 0; }
card_state card_of_context(budget **card) {
    *card = &all[1];
    return gpu.context ? CARD_LIMITED : CARD_REFUSED;
}
_Atomic int code_waiting;
bool module_begins_launch(loading *self, const void *function) {
    (void)self, (void)function;
    return false;
}
void module_ends_launch(loading *self, CUresult result) { (void)self, (void)result; }
/* The tests read what was measured themselves. */
bool background_start(void *(*run)(void *)) { return run != NULL; }

/* --- The clock -------------------------------------------------------------------------------------------
 */

int __wrap_clock_gettime(clockid_t which, struct timespec *t);
int __wrap_clock_gettime(clockid_t which, struct timespec *t) {
    (void)which;
    *t = (struct timespec){(time_t)(gpu.now / 1000000000), (long)(gpu.now % 1000000000)};
    return 0;
}
int __wrap_nanosleep(const struct timespec *pause, struct timespec *left);
int __wrap_nanosleep(const struct timespec *pause, struct timespec *left) {
    (void)left;
    gpu.now += (uint64_t)pause->tv_nsec;
    if (gpu.slept) gpu.slept();
    return 0;
}
void pass(uint64_t ns) {
    for (uint64_t end = gpu.now + ns; gpu.now < end;) {
        gpu.now += end - gpu.now < LOOK_NS ? end - gpu.now : LOOK_NS;
        device_time_look();
    }
}
void synchronize(CUstream stream) {
    uint64_t free_at = stream_of(stream, false)->free_at;
    pass(free_at > gpu.now ? free_at - gpu.now : 0);
    device_time_look();
}

/* --- The driver ------------------------------------------------------------------------------------------
 */

CUstream stream_of(CUstream stream, bool per_thread) {
    if (stream == CU_STREAM_LEGACY || (!stream && !per_thread)) return &legacy_stream;
    return stream && stream != CU_STREAM_PER_THREAD ? stream : &per_thread_stream;
}

static CUresult run(CUfunction function, CUstream stream) {
    gpu.now += CALL_NS;
    if (gpu.refuses) return gpu.refuses;
    if (stream->captures) {
        stream->recorded++;
        return CUDA_SUCCESS;
    }
    uint64_t start = stream->free_at > gpu.now ? stream->free_at : gpu.now;
    if (gpu.in_turn && start < gpu.free_at) start = gpu.free_at;
    uint64_t end = stream->free_at = start + function->ns * gpu.stretch;
    gpu.work_ns += function->ns;
    uint64_t from = start > gpu.free_at ? start : gpu.free_at;
    if (end > from) gpu.busy_ns += end - from, gpu.free_at = end;
    return CUDA_SUCCESS;
}

static CUresult drv_cuCtxGetCurrent(CUcontext *context) {
    *context = gpu.context;
    return CUDA_SUCCESS;
}
static CUresult drv_cuCtxPushCurrent_v2(CUcontext context) {
    return context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}
static CUresult drv_cuCtxPopCurrent_v2(CUcontext *context) {
    *context = gpu.context;
    return CUDA_SUCCESS;
}
static CUresult drv_cuEventCreate(CUevent *event, unsigned flags) {
    CHECK(flags == CU_EVENT_DEFAULT);
    if (gpu.events-- <= 0) return CUDA_ERROR_OUT_OF_MEMORY;
    *event = calloc(1, sizeof **event);
    return CUDA_SUCCESS;
}
static CUresult drv_cuEventRecord(CUevent event, CUstream named) {
    CUstream stream = stream_of(named, false);
    gpu.touched += stream->captures;
    if (gpu.records-- <= 0) return CUDA_ERROR_OUT_OF_MEMORY;
    event->at = stream->free_at > gpu.now ? stream->free_at : gpu.now;
    if (gpu.recorded) gpu.recorded();
    return CUDA_SUCCESS;
}
static CUresult drv_cuEventQuery(CUevent event) {
    pthread_testcancel();
    return event->at <= gpu.now ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
static CUresult drv_cuEventElapsedTime(float *ms, CUevent from, CUevent to) {
    *ms = (float)((double)(int64_t)(to->at - from->at + EVENTS_NS) / 1e6);
    return CUDA_SUCCESS;
}
static CUresult drv_cuStreamQuery(CUstream named) {
    CUstream stream = stream_of(named, false);
    gpu.touched += stream->captures;
    return stream->free_at <= gpu.now ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
static CUresult drv_cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
    gpu.asked++;
    *status =
        stream_of(stream, false)->captures ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
}
static CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
static CUresult drv_cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    CUstreamCaptureMode before = thread_mode;
    thread_mode = *mode, *mode = before;
    return CUDA_SUCCESS;
}

void *driver_function(const char *name) {
    static const struct {
        const char *name;
        void *function;
    } functions[] = {
#define OF(name) {#name, (void *)drv_##name}
        OF(cuCtxGetCurrent),     OF(cuCtxPushCurrent_v2),
        OF(cuCtxPopCurrent_v2),  OF(cuEventCreate),
        OF(cuEventRecord),       OF(cuEventQuery),
        OF(cuEventElapsedTime),  OF(cuStreamQuery),
        OF(cuStreamIsCapturing), OF(cuThreadExchangeStreamCaptureMode),
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0) return functions[i].function;
    return NULL;
}

/* --- The entry points that are wrapped -------------------------------------------------------------------
 */

#define GRID unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared
#define UNUSED_GRID (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz, (void)shared
#define BOTH(symbol, parameters, unused, function, stream)                                                   \
    static CUresult real_##symbol parameters {                                                               \
        unused;                                                                                              \
        return run(function, stream_of(stream, false));                                                      \
    }                                                                                                        \
    static CUresult real_##symbol##_ptsz parameters {                                                        \
        unused;                                                                                              \
        return run(function, stream_of(stream, true));                                                       \
    }
BOTH(cuLaunchKernel, (CUfunction function, GRID, CUstream stream, void **parameters, void **extra),
     (UNUSED_GRID, (void)parameters, (void)extra), function, stream)
BOTH(cuLaunchCooperativeKernel, (CUfunction function, GRID, CUstream stream, void **parameters),
     (UNUSED_GRID, (void)parameters), function, stream)
BOTH(cuLaunchKernelEx, (const CUlaunchConfig *config, CUfunction function, void **parameters, void **extra),
     ((void)parameters, (void)extra), function, config ? config->hStream : NULL)
BOTH(cuGraphLaunch, (CUgraphExec graph, CUstream stream), (void)0, (CUfunction)graph, stream)
static CUresult real_cuLaunch(CUfunction function) { return run(function, &legacy_stream); }
static CUresult real_cuLaunchGrid(CUfunction function, int width, int height) {
    (void)width, (void)height;
    return run(function, &legacy_stream);
}
static CUresult real_cuLaunchGridAsync(CUfunction function, int width, int height, CUstream stream) {
    (void)width, (void)height;
    return run(function, stream_of(stream, false));
}
static CUresult real_cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS *list, unsigned count,
                                                          unsigned flags) {
    (void)flags;
    return count ? run(list->function, stream_of(list->hStream, false)) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult begin_capture(CUstream stream) {
    if (gpu.refuses || stream->captures) return gpu.refuses ? gpu.refuses : CUDA_ERROR_ILLEGAL_STATE;
    stream->captures = true, stream->recorded = 0;
    return CUDA_SUCCESS;
}
static CUresult end_capture(CUstream stream) {
    if (!stream->captures) return CUDA_ERROR_ILLEGAL_STATE;
    stream->captures = false;
    return gpu.refuses;
}
#define CAPTURE(symbol, parameters, unused, act)                                                             \
    static CUresult real_##symbol parameters {                                                               \
        unused;                                                                                              \
        return act(stream_of(stream, false));                                                                \
    }                                                                                                        \
    static CUresult real_##symbol##_ptsz parameters {                                                        \
        unused;                                                                                              \
        return act(stream_of(stream, true));                                                                 \
    }
CAPTURE(cuStreamBeginCapture, (CUstream stream), (void)0, begin_capture)
CAPTURE(cuStreamBeginCapture_v2, (CUstream stream, CUstreamCaptureMode how), (void)how, begin_capture)
CAPTURE(cuStreamBeginCaptureToGraph,
        (CUstream stream, CUgraph graph, const CUgraphNode *before, const void *edges, size_t count,
         CUstreamCaptureMode how),
        ((void)graph, (void)before, (void)edges, (void)count, (void)how), begin_capture)
CAPTURE(cuStreamBeginRecaptureToGraph,
        (CUstream stream, CUstreamCaptureMode how, CUgraph graph, void *differs, void *data),
        ((void)graph, (void)differs, (void)data, (void)how), begin_capture)
CAPTURE(cuStreamEndCapture, (CUstream stream, CUgraph *graph), (void)graph, end_capture)

_Atomic(void *) real_functions[HOOK_COUNT];
void *find_real_function(int hook) {
    static void *const driver[HOOK_COUNT] = {
#define ONE(symbol)  [HOOK_##symbol] = (void *)real_##symbol
#define PAIR(symbol) ONE(symbol), ONE(symbol##_ptsz)
        PAIR(cuLaunchKernel),
        PAIR(cuLaunchCooperativeKernel),
        PAIR(cuLaunchKernelEx),
        PAIR(cuGraphLaunch),
        PAIR(cuStreamBeginCapture),
        PAIR(cuStreamBeginCapture_v2),
        PAIR(cuStreamBeginCaptureToGraph),
        PAIR(cuStreamBeginRecaptureToGraph),
        PAIR(cuStreamEndCapture),
        ONE(cuLaunch),
        ONE(cuLaunchGrid),
        ONE(cuLaunchGridAsync),
        ONE(cuLaunchCooperativeKernelMultiDevice),
    };
    atomic_store(&real_functions[hook], driver[hook]);
    return driver[hook];
}

/* --- What the tests do with it ---------------------------------------------------------------------------
 */

CUresult launch(CUfunction function, CUstream stream) {
    return cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, NULL, NULL);
}

void with_cores(unsigned cores, void (*test)(void)) {
    only.limit.cores = cores;
    alone(test);
}
