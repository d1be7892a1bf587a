#include "device_time.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "background.h"
#include "lanes.h"

enum { EXIT_PATIENCE_NS = 2000000 };
static _Atomic bool thread_started;

bool device_time_capturing(CUstream stream) {
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    /* Not even to be asked: the default stream while another one captures. Leave that alone, too. */
    return !lanes_usable() || lane_driver.cuStreamIsCapturing(stream, &status) != CUDA_SUCCESS ||
           status != CU_STREAM_CAPTURE_STATUS_NONE;
}

bool device_time_idle(CUstream stream) {
    CUstreamCaptureMode mode = lanes_relax(CU_STREAM_CAPTURE_MODE_RELAXED);
    bool idle = lane_driver.cuStreamQuery(stream) == CUDA_SUCCESS;
    lanes_relax(mode);
    return idle;
}

bool device_time_running(void) { return atomic_load(&lanes_running) > 0; }

static bool make_event(CUevent *event) {
    return *event || lane_driver.cuEventCreate(event, CU_EVENT_DEFAULT) == CUDA_SUCCESS;
}

/* Each thread has a per-thread stream of its own. */
static const void *told_apart(CUstream stream) {
    static _Thread_local char own;
    return stream == CU_STREAM_PER_THREAD ? &own : (const void *)stream;
}

bracket *device_time_begin(meter *of, CUstream stream, bool idle, bool counted) {
    bracket *self = lanes_usable() ? lanes_take_bracket(of) : NULL;
    if (!self) return NULL;
    CUstreamCaptureMode mode = lanes_relax(CU_STREAM_CAPTURE_MODE_RELAXED);
    bool begun = make_event(&self->start) && make_event(&self->end) &&
                 lane_driver.cuEventRecord(self->start, stream) == CUDA_SUCCESS;
    lanes_relax(mode);
    if (!begun) {
        device_time_cancel(self);
        return NULL;
    }
    self->launched_at = idle ? meter_now() : 0;
    self->stream = told_apart(stream);
    self->counted = counted;
    self->holds = atomic_load(&of->holds);
    return self;
}

void device_time_cancel(bracket *self) { atomic_store(&self->state, FREE); }

/* The driver is about to be torn down: whoever looks finishes, and nobody looks again. The lock is free
 * afterwards, since other handlers of the exit may end contexts (the CUDA runtime's does). */
static void at_exit(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += EXIT_PATIENCE_NS;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    if (pthread_mutex_timedlock(&lanes_looking, &until) == 0) {
        lanes_look(); /* what has just ended is charged, too */
        atomic_store(&lanes_over, true);
        pthread_mutex_unlock(&lanes_looking);
    }
    atomic_store(&lanes_over, true);
}

/* Tried again at the next measurement where there is no thread to be had; who waits reads as well. */
static void start_thread(void) {
    static bool at_exit_is_known; /* to a child of a fork, too */
    if (!at_exit_is_known) at_exit_is_known = atexit(at_exit) == 0;
    thread_started = background_start(lanes_poll);
}

bool device_time_end(bracket *self, CUstream stream, cost *what, uint64_t prepaid, uint64_t place) {
    /* On an idle stream `start` has passed, and the device waited for the launch. */
    self->idle_ns = self->launched_at ? meter_now() - self->launched_at : 0;
    CUstreamCaptureMode mode = lanes_relax(CU_STREAM_CAPTURE_MODE_RELAXED);
    bool recorded =
        atomic_load(&self->state) == BEGUN && lane_driver.cuEventRecord(self->end, stream) == CUDA_SUCCESS;
    lanes_relax(mode);
    self->what = what, self->prepaid = prepaid, self->place = place;
    self->started = self->ended = false;
    self->start_at = LANE_SOMEWHERE_NS;
    int begun = BEGUN;
    if (!recorded || !atomic_compare_exchange_strong(&self->state, &begun, RUNNING)) {
        device_time_cancel(self);
        return false;
    }
    if (atomic_fetch_add(&lanes_running, 1) > 0 && thread_started) return true;
    pthread_mutex_lock(&lanes_mutex);
    if (!thread_started) start_thread();
    pthread_cond_signal(&lanes_work);
    pthread_mutex_unlock(&lanes_mutex);
    return true;
}

/* With lanes_mutex held; NULL: nothing was measured in it. */
static lane *lane_of(CUcontext context) {
    for (lane *each = lanes; context && each < lanes + MOST_LANES; each++)
        if (each->context == context) return each;
    return NULL;
}

void device_time_closing(CUcontext context) {
    pthread_mutex_lock(&lanes_looking);
    if (device_time_running()) {
        CUstreamCaptureMode mode = lanes_relax(CU_STREAM_CAPTURE_MODE_RELAXED);
        lanes_look();
        lanes_relax(mode);
    }
    pthread_mutex_lock(&lanes_mutex);
    lane *its = lane_of(context);
    if (its) its->closing = true;
    pthread_mutex_unlock(&lanes_mutex);
    pthread_mutex_unlock(&lanes_looking);
}

/* What still runs is charged as it was known. */
static void give_up(lane *its) {
    for (bracket *each = its->brackets; each < its->brackets + MOST_BRACKETS; each++) {
        int begun = BEGUN, running = RUNNING;
        if (atomic_compare_exchange_strong(&each->state, &begun, GONE)) continue;
        if (!atomic_compare_exchange_strong(&each->state, &running, FREE)) continue;
        meter_settle(its->meter, each->prepaid, each->prepaid, true, each->place);
        atomic_fetch_sub(&lanes_running, 1);
    }
    its->context = NULL;
}

void device_time_closed(CUcontext context, bool ended) {
    pthread_mutex_lock(&lanes_mutex);
    lane *its = lane_of(context);
    if (its) its->closing = false;
    if (its && ended) give_up(its);
    pthread_mutex_unlock(&lanes_mutex);
}

void device_time_forked(void) {
    pthread_mutex_init(&lanes_mutex, NULL);
    pthread_mutex_init(&lanes_looking, NULL);
    pthread_cond_init(&lanes_work, NULL);
    memset(lanes, 0, sizeof lanes);
    atomic_store(&lanes_running, 0);
    thread_started = false;
}
