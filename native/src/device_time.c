#include "device_time.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hooks.h"

enum {
    MOST_LANES = 32,
    MOST_BRACKETS = 64,
    POLL_NS = 1000000,
    STACK_BYTES = 256 * 1024,
    NEW_BASE_NS = 2000000000, /* elapsed times are 32-bit floats: they must stay short to be exact */
    SOMEWHERE_NS = 1000000000,
    CLOCK_DRIFT_NS = 100, /* of one clock against the other between two measurements, at most */
    EXIT_PATIENCE_NS = 2000000,
};

typedef enum { FREE, BEGUN, RUNNING } bracket_state;

struct bracket {
    struct lane *lane;
    _Atomic int state;
    CUevent start, end;
    cost *what;
    uint64_t prepaid, place;
    uint64_t launched_at, idle_ns; /* host time; what the device waited for us after `start` */
    /* Of the thread that looks. */
    bool started, ended;
    uint64_t start_at, length; /* device time */
};

/* The measurements of one context, whose device times compare with each other. */
typedef struct lane {
    CUcontext context; /* NULL: free */
    CUdevice device;
    meter *meter;
    bool closing;
    CUevent base; /* device time `base_at` */
    uint64_t base_at;
    uint64_t covered; /* device time up to which work is accounted for */
    uint64_t told;    /* the same, of what the ledger knows of presence on the card */
    int64_t ahead;    /* of host time before device time, as far as seen */
    bracket brackets[MOST_BRACKETS];
} lane;

static lane lanes[MOST_LANES];
static pthread_mutex_t lanes_mutex =
    PTHREAD_MUTEX_INITIALIZER;                              /* of the table; never held over a driver call */
static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER; /* held while events are read */
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static _Atomic int running;
static _Atomic bool over; /* the program is at its end: nobody looks any more */
static bool thread_started;

/* The driver's functions, looked up once. */
#define CALLS(CALL)                                                                                          \
    CALL(cuCtxGetCurrent, (CUcontext *))                                                                     \
    CALL(cuCtxGetDevice, (CUdevice *))                                                                       \
    CALL(cuCtxPushCurrent_v2, (CUcontext))                                                                   \
    CALL(cuCtxPopCurrent_v2, (CUcontext *))                                                                  \
    CALL(cuEventCreate, (CUevent *, unsigned int))                                                           \
    CALL(cuEventRecord, (CUevent, CUstream))                                                                 \
    CALL(cuEventQuery, (CUevent))                                                                            \
    CALL(cuEventElapsedTime, (float *, CUevent, CUevent))                                                    \
    CALL(cuStreamIsCapturing, (CUstream, CUstreamCaptureStatus *))                                           \
    CALL(cuThreadExchangeStreamCaptureMode, (CUstreamCaptureMode *))

static struct {
#define CALL(name, parameters) CUresult(*name) parameters;
    CALLS(CALL)
#undef CALL
} driver;
static bool driver_usable;

static void find_driver(void) {
    driver_usable = true;
#define CALL(name, parameters)                                                                               \
    driver_usable = (driver.name = driver_function(#name)) != NULL && driver_usable;
    CALLS(CALL)
#undef CALL
}

static bool usable(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_driver);
    return driver_usable;
}

/* While a stream captures, calls like cuEventQuery are forbidden to threads that do not say that they know.
 */
static CUstreamCaptureMode relax(CUstreamCaptureMode mode) {
    driver.cuThreadExchangeStreamCaptureMode(&mode);
    return mode;
}

bool device_time_capturing(CUstream stream) {
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    /* Not even to be asked: the default stream while another one captures. Leave that alone, too. */
    return !usable() || driver.cuStreamIsCapturing(stream, &status) != CUDA_SUCCESS ||
           status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* --- Where work is launched ------------------------------------------------------------------------------
 */

static lane *lane_of(CUcontext context, CUdevice device, meter *of) {
    lane *found = NULL;
    for (lane *each = lanes; each < lanes + MOST_LANES; each++) {
        if (each->context == context) return each;
        if (!found && !each->context) found = each;
    }
    if (!found) return NULL;
    memset(found, 0, sizeof *found);
    found->context = context, found->device = device, found->meter = of;
    found->base_at = found->covered = SOMEWHERE_NS;
    return found;
}

static bracket *free_bracket(lane *in) {
    for (bracket *each = in->brackets; each < in->brackets + MOST_BRACKETS; each++) {
        if (atomic_load(&each->state) != FREE) continue;
        atomic_store(&each->state, BEGUN);
        each->lane = in;
        return each;
    }
    return NULL;
}

static bracket *take_bracket(meter *of) {
    CUcontext context = NULL;
    CUdevice device;
    if (driver.cuCtxGetCurrent(&context) != CUDA_SUCCESS || !context ||
        driver.cuCtxGetDevice(&device) != CUDA_SUCCESS)
        return NULL;
    pthread_mutex_lock(&lanes_mutex);
    lane *in = lane_of(context, device, of);
    bracket *taken = in && !in->closing ? free_bracket(in) : NULL;
    pthread_mutex_unlock(&lanes_mutex);
    return taken;
}

static bool make_event(CUevent *event) {
    return *event || driver.cuEventCreate(event, CU_EVENT_DEFAULT) == CUDA_SUCCESS;
}

bracket *device_time_begin(meter *of, CUstream stream) {
    bracket *self = usable() ? take_bracket(of) : NULL;
    if (!self) return NULL;
    CUstreamCaptureMode mode = relax(CU_STREAM_CAPTURE_MODE_RELAXED);
    bool begun = make_event(&self->start) && make_event(&self->end) &&
                 driver.cuEventRecord(self->start, stream) == CUDA_SUCCESS;
    relax(mode);
    if (!begun) {
        device_time_cancel(self);
        return NULL;
    }
    self->launched_at = meter_now();
    return self;
}

void device_time_cancel(bracket *self) { atomic_store(&self->state, FREE); }

static void *poll_events(void *nothing);
static void look_at_all(void);

/* The driver is about to be torn down: whoever looks finishes, and nobody looks again. The lock is free
 * afterwards, since other handlers of the exit may end contexts (the CUDA runtime's does). */
static void at_exit(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += EXIT_PATIENCE_NS;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    if (pthread_mutex_timedlock(&looking, &until) == 0) {
        look_at_all(); /* what has just ended is charged, too */
        atomic_store(&over, true);
        pthread_mutex_unlock(&looking);
    }
    atomic_store(&over, true);
}

/* The program's signals belong to its own threads. */
static void start_thread(void) {
    sigset_t all, before;
    pthread_t thread;
    pthread_attr_t attributes;
    atexit(at_exit);
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_started = pthread_create(&thread, &attributes, poll_events, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

void device_time_end(bracket *self, CUstream stream, cost *what, uint64_t prepaid, uint64_t place) {
    uint64_t now = meter_now();
    CUstreamCaptureMode mode = relax(CU_STREAM_CAPTURE_MODE_RELAXED);
    /* The stream was idle when `start` passed: the device then waited for the launch. */
    bool idle = driver.cuEventQuery(self->start) == CUDA_SUCCESS;
    bool recorded = driver.cuEventRecord(self->end, stream) == CUDA_SUCCESS;
    relax(mode);
    if (!recorded) {
        device_time_cancel(self);
        return;
    }
    self->what = what, self->prepaid = prepaid, self->place = place;
    self->idle_ns = idle ? now - self->launched_at : 0;
    self->started = self->ended = false;
    self->start_at = SOMEWHERE_NS;
    atomic_store(&self->state, RUNNING);
    if (atomic_fetch_add(&running, 1) > 0 && thread_started) return;
    pthread_mutex_lock(&lanes_mutex);
    if (!thread_started) start_thread();
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&lanes_mutex);
}

/* --- Where events are read, by one thread at a time
 * ---------------------------------------------------------- */

static int64_t elapsed(CUevent from, CUevent to) {
    float ms = 0;
    return driver.cuEventElapsedTime(&ms, from, to) == CUDA_SUCCESS ? (int64_t)((double)ms * 1e6) : 0;
}

/* An error of the device ends all work as well. */
static bool has_passed(CUevent event) { return driver.cuEventQuery(event) != CUDA_ERROR_NOT_READY; }

static void see(bracket *self) {
    if (!self->started && has_passed(self->start)) self->started = true;
    if (!self->started || !has_passed(self->end)) return;
    int64_t length = elapsed(self->start, self->end);
    self->ended = true;
    self->length = length > 0 ? (uint64_t)length : 0;
}

/* On the context's own time line, which begins somewhere. */
static void place_in_time(bracket *self) {
    lane *in = self->lane;
    if (!in->base) return;
    self->start_at = in->base_at + (uint64_t)elapsed(in->base, self->start);
}

static void move_base(bracket *to) {
    lane *in = to->lane;
    CUevent old = in->base;
    in->base = to->end;
    in->base_at = to->start_at + to->length;
    to->end = old;
}

/* The end was seen NOW, so it is not later than that; the latest such bound is the nearest. */
static void compare_clocks(lane *in, uint64_t end_at, uint64_t now) {
    int64_t bound = (int64_t)(now - end_at);
    in->ahead = in->ahead == 0 || bound < in->ahead ? bound : in->ahead + CLOCK_DRIFT_NS;
}

/* Work of the context was on the card until UNTIL, in device time, and from FROM on if that is not told yet.
 */
static void tell_presence(lane *in, uint64_t from, uint64_t until) {
    if (in->told > from) from = in->told;
    if (in->ahead == 0 || until <= from) return;
    in->told = until;
    meter_present(in->meter, from + (uint64_t)in->ahead, until + (uint64_t)in->ahead);
}

static void settle(bracket *self, uint64_t earliest, uint64_t now) {
    lane *in = self->lane;
    uint64_t known = atomic_load_explicit(&self->what->ns, memory_order_relaxed);
    unsigned part = meter_part(in->meter);
    throttle_verdict verdict = throttle_judge(self->length, self->idle_ns, known, part);
    uint64_t end_at = self->start_at + self->length, own = verdict.own_ns;
    if (verdict.learn) cost_learn(self->what, own);
    if (verdict.doubt) cost_doubt(self->what, self->length);
    compare_clocks(in, end_at, now);
    if (self->length >= LONG_NS) {
        uint64_t start_at = self->start_at + (self->idle_ns < self->length ? self->idle_ns : 0);
        if (earliest > end_at) earliest = end_at;
        if (verdict.shared) tell_presence(in, start_at < earliest ? start_at : earliest, end_at);
        /* Work that overlaps on several streams is charged once. */
        uint64_t covered =
            throttle_cover(&in->covered, start_at, end_at, earliest) * verdict.part / LEDGER_WHOLE_CARD;
        if (covered < own) own = covered;
    }
    meter_settle(in->meter, self->prepaid, own, !verdict.shared, self->place);
    if (!in->base || end_at > in->base_at + NEW_BASE_NS) move_base(self);
    atomic_fetch_sub(&running, 1);
    atomic_store(&self->state, FREE);
}

/* Keep ENDED in the order of their ends. */
static void insert(bracket **ended, int count, bracket *one) {
    int at = count;
    for (; at > 0 && ended[at - 1]->start_at + ended[at - 1]->length > one->start_at + one->length; at--)
        ended[at] = ended[at - 1];
    ended[at] = one;
}

/* One context: what has ended is settled in the order in which it ended. */
static void look_at(lane *in) {
    bracket *ended[MOST_BRACKETS];
    int count = 0;
    uint64_t earliest = UINT64_MAX;
    CUcontext popped;
    if (driver.cuCtxPushCurrent_v2(in->context) != CUDA_SUCCESS) return;
    for (bracket *each = in->brackets; each < in->brackets + MOST_BRACKETS; each++) {
        if (atomic_load(&each->state) != RUNNING) continue;
        see(each);
        if (each->started) place_in_time(each);
        if (each->ended)
            insert(ended, count++, each);
        else if (each->started && each->prepaid >= LONG_NS && each->start_at < earliest)
            earliest = each->start_at;
    }
    driver.cuCtxPopCurrent_v2(&popped);
    uint64_t now = meter_now();
    for (int i = 0; i < count; i++) settle(ended[i], earliest, now);
    if (earliest != UINT64_MAX) tell_presence(in, earliest, now - (uint64_t)in->ahead);
}

static void look_at_all(void) {
    if (atomic_load(&over)) return;
    for (int i = 0; i < MOST_LANES; i++) {
        pthread_mutex_lock(&lanes_mutex);
        bool open = lanes[i].context && !lanes[i].closing;
        pthread_mutex_unlock(&lanes_mutex);
        if (open) look_at(&lanes[i]);
    }
}

void device_time_look(void) {
    if (atomic_load(&running) == 0 || pthread_mutex_trylock(&looking) != 0) return;
    CUstreamCaptureMode mode = relax(CU_STREAM_CAPTURE_MODE_RELAXED);
    look_at_all();
    relax(mode);
    pthread_mutex_unlock(&looking);
}

static void *poll_events(void *nothing) {
    (void)nothing;
    relax(CU_STREAM_CAPTURE_MODE_RELAXED);
    for (;;) {
        pthread_mutex_lock(&lanes_mutex);
        while (atomic_load(&running) == 0) pthread_cond_wait(&work, &lanes_mutex);
        pthread_mutex_unlock(&lanes_mutex);
        pthread_mutex_lock(&looking);
        look_at_all();
        pthread_mutex_unlock(&looking);
        struct timespec pause = {.tv_nsec = POLL_NS};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* --- Ends -------------------------------------------------------------------------------------------------
 */

static bool concerns(const lane *each, CUcontext context, CUdevice device) {
    return each->context && (context ? each->context == context : each->device == device);
}

void device_time_closing(CUcontext context, CUdevice device) {
    pthread_mutex_lock(&lanes_mutex);
    for (lane *each = lanes; each < lanes + MOST_LANES; each++)
        if (concerns(each, context, device)) each->closing = true;
    pthread_mutex_unlock(&lanes_mutex);
    /* Whoever looks now has finished when we get the lock. */
    pthread_mutex_lock(&looking);
    pthread_mutex_unlock(&looking);
}

void device_time_closed(CUcontext context, CUdevice device, bool ended) {
    pthread_mutex_lock(&lanes_mutex);
    for (lane *each = lanes; each < lanes + MOST_LANES; each++) {
        if (!concerns(each, context, device) || !each->closing) continue;
        each->closing = false;
        if (!ended) continue;
        for (bracket *b = each->brackets; b < each->brackets + MOST_BRACKETS; b++)
            if (atomic_load(&b->state) == RUNNING) atomic_fetch_sub(&running, 1);
        memset(each, 0, sizeof *each);
    }
    pthread_mutex_unlock(&lanes_mutex);
}

void device_time_forked(void) {
    pthread_mutex_init(&lanes_mutex, NULL);
    pthread_mutex_init(&looking, NULL);
    pthread_cond_init(&work, NULL);
    memset(lanes, 0, sizeof lanes);
    atomic_store(&running, 0);
    thread_started = false;
}
