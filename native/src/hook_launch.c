/*
 * Work for the device: kernels and graphs. Without a core limit a launch is one branch more than the
 * driver's. Under one, short work whose cost is known is counted in a few ns; now and then, and always for
 * long or unknown work, a launch waits for its share to be paid up and is measured between two events. A
 * stream in capture is never touched: what it records is charged when its graph is launched. Nothing here
 * waits while it holds a lock, and host functions on streams are not held back. The first launch of a
 * function may load its code, which takes memory (hook_module.c).
 */
#include <stdatomic.h>

#include "cards.h"
#include "device_time.h"
#include "hook_capture.h"
#include "hook_launch.h"
#include "hook_module.h"

/* FREE: no shares. IDLE: none reserves compute; the agent's hint says when it matters. */
typedef enum { UNKNOWN, FREE, IDLE, LIMITED } launch_mode;

enum { FIRST_GUESS_NS = 50000 }; /* what work takes that was never measured */

static _Atomic int mode;
static ledger_hint *_Atomic hints[MOST_SHARES];
static _Atomic int hint_count;

static launch_mode find_mode(void) {
    if (!cards_are_limited()) return FREE;
    int count, watched = 0;
    budget *all = budget_all(&count);
    for (budget *card = all; card < all + count; card++) {
        for (int i = 0; i < card->count; i++) {
            if (card->shares[i]->limit.cores) return LIMITED;
            if (ledger_attach(&card->shares[i]->book) == 0)
                atomic_store_explicit(&hints[watched++], &card->shares[i]->book.file->hint,
                                      memory_order_relaxed);
        }
    }
    atomic_store(&hint_count, watched);
    return IDLE;
}

static __attribute__((noinline)) bool look_closer(void) {
    int now = atomic_load(&mode);
    if (now == UNKNOWN) atomic_store(&mode, now = (int)find_mode());
    return now == LIMITED;
}

static inline bool hinted(void) {
    for (int i = 0, count = atomic_load_explicit(&hint_count, memory_order_acquire); i < count; i++) {
        ledger_hint *hint = atomic_load_explicit(&hints[i], memory_order_relaxed);
        if (__builtin_expect(atomic_load_explicit(&hint->rate, memory_order_relaxed) != 0, 0)) return true;
    }
    return false;
}

static bool matters(void) {
    int now = atomic_load_explicit(&mode, memory_order_relaxed);
    if (now == FREE) return false;
    return now == IDLE ? hinted() : now == LIMITED || look_closer();
}

/* The usual answer to whether a launch concerns us, without a call. */
static inline bool unwatched(void) {
    int now = atomic_load_explicit(&mode, memory_order_relaxed);
    return now == FREE ||
           (now == IDLE && !atomic_load_explicit(&code_waiting, memory_order_relaxed) && !hinted());
}

void launches_forked(void) {
    atomic_store(&mode, UNKNOWN);
    atomic_store(&captures, 0);
    device_time_forked();
    meter_forked();
}

typedef struct {
    meter *meter; /* NULL: this launch is none of ours */
    cost *what;
    bracket *bracket; /* NULL: counted, not measured */
    CUstream stream;
    uint64_t prepaid, place;
} launch;

/* With shares of one card, as nearly always, all work is on that card. */
static meter *meter_of_context(void) {
    static _Atomic(meter *) only;
    meter *found = atomic_load_explicit(&only, memory_order_relaxed);
    if (__builtin_expect(found != NULL, 1)) return found;
    int count;
    budget *card = budget_all(&count);
    if (count == 1)
        atomic_store(&only, found = meter_of(card));
    else if (card_of_context(&card) == CARD_LIMITED)
        found = meter_of(card);
    return found;
}

/* On an idle stream a launch's way to the device lies between its events, and short work would seem longer
 * than it is: measure one of the next, which has work in front of it. A program that waits for each of its
 * launches has none such. */
static bool put_off(const launch *self, bool idle) {
    if (idle) return atomic_fetch_add(&self->meter->put_off, 1) % (PUT_OFF_MOST + 1) != PUT_OFF_MOST;
    atomic_store(&self->meter->put_off, 0);
    return false;
}

static __attribute__((noinline)) void measure(launch *self, uint64_t known, bool counted) {
    if (counted) atomic_fetch_sub(&self->meter->unbilled, (int64_t)known);
    if (device_time_capturing(self->stream)) {
        self->meter = NULL;
        return;
    }
    bool joins = !counted && device_time_idle(self->stream) && meter_joins(self->meter, device_time_look);
    if (!joins) meter_wait(self->meter, device_time_look);
    bool idle = device_time_idle(self->stream), later = counted && put_off(self, idle);
    if (later) atomic_fetch_add(&self->meter->unbilled, (int64_t)known);
    meter_bill(self->meter, later);
    /* Of work that is only counted nobody hears when it ends; a queue that is empty holds nobody back. */
    if (idle && !device_time_running()) meter_caught_up(self->meter);
    if (later) return;
    uint64_t expected = counted ? meter_overlapped(self->meter, known) : known ? known : FIRST_GUESS_NS;
    self->prepaid = joins ? 0 : expected;
    self->place = meter_prepay(self->meter, expected, joins);
    self->bracket = device_time_begin(self->meter, self->stream, idle, counted);
    /* What cannot be measured is charged as it was known or guessed. */
    if (!self->bracket) meter_settle(self->meter, self->prepaid, expected, true, self->place);
}

static inline void begin(launch *self, const void *function, uint64_t shape, CUstream stream) {
    *self = (launch){.stream = stream};
    if (atomic_load_explicit(&captures, memory_order_relaxed) && device_time_capturing(stream)) return;
    self->meter = meter_of_context();
    if (!self->meter) return;
    self->what = cost_of(function, shape);
    uint64_t known = atomic_load_explicit(&self->what->ns, memory_order_relaxed);
    bool counted = known && atomic_load_explicit(&self->what->longest, memory_order_relaxed) < LONG_NS;
    bool due = !counted || meter_count(self->meter, known);
    bool settled = atomic_load_explicit(&self->what->samples, memory_order_relaxed) >= COST_SETTLED;
    if (due || !settled) measure(self, known, counted);
}

static void end(launch *self, CUresult result) {
    if (!self->bracket) return;
    if (result != CUDA_SUCCESS) {
        device_time_cancel(self->bracket);
        meter_settle(self->meter, self->prepaid, 0, true, self->place);
    } else if (!device_time_end(self->bracket, self->stream, self->what, self->prepaid, self->place)) {
        meter_settle(self->meter, self->prepaid, self->prepaid, true, self->place);
    }
}

/* Without it some compilers save registers for the unusual case in the usual one. */
#if defined __clang__
#define TAIL_CALL __attribute__((musttail))
#else
#define TAIL_CALL
#endif

/* A launching entry point: in the usual case nothing but a jump to the driver's. */
#define LAUNCH(symbol, parameters, function, shape, stream, ...)                                             \
    static __attribute__((noinline)) CUresult symbol##_watched parameters {                                  \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        bool limited = matters(), first = atomic_load(&code_waiting) != 0;                                   \
        loading loads = {0};                                                                                 \
        if (first && !module_begins_launch(&loads, function)) return CUDA_ERROR_OUT_OF_MEMORY;               \
        launch self = {0};                                                                                   \
        if (limited) begin(&self, function, shape, stream);                                                  \
        CUresult result = real(__VA_ARGS__);                                                                 \
        end(&self, result);                                                                                  \
        if (first) module_ends_launch(&loads, result);                                                       \
        return result;                                                                                       \
    }                                                                                                        \
    CUresult symbol parameters {                                                                             \
        symbol##_type real = (symbol##_type)known_function(HOOK_##symbol);                                   \
        if (__builtin_expect(real && unwatched(), 1)) TAIL_CALL return real(__VA_ARGS__);                    \
        TAIL_CALL return symbol##_watched(__VA_ARGS__);                                                      \
    }

static inline uint64_t shape_of(unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                unsigned bz) {
    return (uint64_t)gx * gy * gz * 1024 + (uint64_t)bx * by * bz;
}

static uint64_t shape_of_config(const CUlaunchConfig *c) {
    return c ? shape_of(c->gridDimX, c->gridDimY, c->gridDimZ, c->blockDimX, c->blockDimY, c->blockDimZ) : 0;
}

/* Both forms of a launching function, which differ in what stream NULL means. */
#define LAUNCH_BOTH(symbol, parameters, function, shape, stream, ...)                                        \
    LAUNCH(symbol, parameters, function, shape, legacy(stream), __VA_ARGS__)                                 \
    LAUNCH(symbol##_ptsz, parameters, function, shape, per_thread(stream), __VA_ARGS__)

LAUNCH_BOTH(cuLaunchKernel,
            (CUfunction function, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
             unsigned int by, unsigned int bz, unsigned int shared, CUstream stream, void **parameters,
             void **extra),
            function, shape_of(gx, gy, gz, bx, by, bz), stream, function, gx, gy, gz, bx, by, bz, shared,
            stream, parameters, extra)

LAUNCH_BOTH(cuLaunchCooperativeKernel,
            (CUfunction function, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
             unsigned int by, unsigned int bz, unsigned int shared, CUstream stream, void **parameters),
            function, shape_of(gx, gy, gz, bx, by, bz), stream, function, gx, gy, gz, bx, by, bz, shared,
            stream, parameters)

LAUNCH_BOTH(cuLaunchKernelEx,
            (const CUlaunchConfig *config, CUfunction function, void **parameters, void **extra), function,
            shape_of_config(config), config ? config->hStream : NULL, config, function, parameters, extra)

LAUNCH_BOTH(cuGraphLaunch, (CUgraphExec graph, CUstream stream), graph, 0, stream, graph, stream)

/* Launches of CUDA 4 and older: the block's shape was set on the function. */
LAUNCH(cuLaunch, (CUfunction function), function, 1, CU_STREAM_LEGACY, function)

LAUNCH(cuLaunchGrid, (CUfunction function, int width, int height), function,
       (uint64_t)width *(uint64_t)height, CU_STREAM_LEGACY, function, width, height)

LAUNCH(cuLaunchGridAsync, (CUfunction function, int width, int height, CUstream stream), function,
       (uint64_t)width *(uint64_t)height, legacy(stream), function, width, height, stream)

/* One kernel on several cards at once, which wait for each other: held back by the current context's card. */
LAUNCH(cuLaunchCooperativeKernelMultiDevice,
       (CUDA_LAUNCH_PARAMS * list, unsigned int count, unsigned int flags),
       list &&count ? list->function : NULL, count, list &&count ? legacy(list->hStream) : CU_STREAM_LEGACY,
       list, count, flags)
