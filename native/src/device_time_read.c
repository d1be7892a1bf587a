/* What the events tell, read by one thread at a time. */
#include <errno.h>
#include <time.h>

#include "device_time.h"
#include "lanes.h"

enum {
    POLL_NS = 1000000,
    REST_NS = 50000000,       /* without a measurement, after which the next launch is measured */
    NEW_BASE_NS = 2000000000, /* elapsed times are 32-bit floats: they must stay short to be exact */
    CLOCK_DRIFT_NS = 100,     /* of one clock against the other between two measurements, at most */
};

static int64_t elapsed(CUevent from, CUevent to) {
    float ms = 0;
    return lane_driver.cuEventElapsedTime(&ms, from, to) == CUDA_SUCCESS ? (int64_t)((double)ms * 1e6) : 0;
}

/* An error of the device ends all work as well. */
static bool has_passed(CUevent event) { return lane_driver.cuEventQuery(event) != CUDA_ERROR_NOT_READY; }

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

static void learn_overlap(const bracket *self, uint64_t end_at, bool alone) {
    overlap_sample sample = {self->stream, self->holds, end_at, self->length, self->place, self->prepaid};
    atomic_store(&self->lane->meter->overlap, overlap_learn(&self->lane->streams, &sample, alone));
}

static void settle(bracket *self, uint64_t earliest, uint64_t now) {
    lane *in = self->lane;
    uint64_t known = atomic_load_explicit(&self->what->ns, memory_order_relaxed);
    uint64_t longest = atomic_load_explicit(&self->what->longest, memory_order_relaxed);
    unsigned part = meter_part(in->meter);
    uint64_t end_at = self->start_at + self->length;
    turns_saw(&in->turns, self->stream);
    if (throttle_may_be_turn(self->length, known, part))
        turns_learn(&in->turns, self->start_at, end_at, known, self->holds);
    throttle_verdict verdict =
        throttle_judge(self->length, self->idle_ns, known, longest, part, turns_believed(&in->turns));
    uint64_t own = verdict.own_ns;
    if (verdict.learn) cost_learn(self->what, own);
    if (verdict.doubt) cost_doubt(self->what, self->length);
    compare_clocks(in, end_at, now);
    if (!self->counted) {
        uint64_t start_at = self->start_at + (self->idle_ns < self->length ? self->idle_ns : 0);
        if (verdict.shared) tell_presence(in, start_at, end_at);
        /* Work that overlaps on several streams is charged once. */
        uint64_t covered =
            throttle_cover(&in->covered, start_at, end_at, earliest) * verdict.part / LEDGER_WHOLE_CARD;
        if (covered < own) own = covered;
    } else {
        own = meter_overlapped(in->meter, own);
    }
    if (self->counted) learn_overlap(self, end_at, part == LEDGER_WHOLE_CARD);
    meter_settle(in->meter, self->prepaid, own, !verdict.shared, self->place);
    if (!in->base || end_at > in->base_at + NEW_BASE_NS) move_base(self);
    atomic_fetch_sub(&lanes_running, 1);
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
    uint64_t earliest = UINT64_MAX, present = UINT64_MAX;
    CUcontext popped;
    if (lane_driver.cuCtxPushCurrent_v2(in->context) != CUDA_SUCCESS) return;
    for (bracket *each = in->brackets; each < in->brackets + MOST_BRACKETS; each++) {
        if (atomic_load(&each->state) != RUNNING) continue;
        see(each);
        if (each->started) place_in_time(each);
        if (each->ended) {
            insert(ended, count++, each);
        } else if (each->started && !each->counted) {
            if (each->start_at < earliest) earliest = each->start_at;
            if (throttle_is_shared(atomic_load(&each->what->ns)) && each->start_at < present)
                present = each->start_at;
        }
    }
    lane_driver.cuCtxPopCurrent_v2(&popped);
    uint64_t now = meter_now();
    for (int i = 0; i < count; i++) settle(ended[i], earliest, now);
    if (present != UINT64_MAX) tell_presence(in, present, now - (uint64_t)in->ahead);
}

void lanes_look(void) {
    if (atomic_load(&lanes_over)) return;
    for (int i = 0; i < MOST_LANES; i++) {
        pthread_mutex_lock(&lanes_mutex);
        bool open = lanes[i].context && !lanes[i].closing;
        pthread_mutex_unlock(&lanes_mutex);
        if (open) look_at(&lanes[i]);
    }
}

void device_time_look(void) {
    if (atomic_load(&lanes_running) == 0) return;
    int before = PTHREAD_CANCEL_ENABLE;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before); /* or nobody would ever look again */
    if (pthread_mutex_trylock(&lanes_looking) == 0) {
        CUstreamCaptureMode mode = lanes_relax(CU_STREAM_CAPTURE_MODE_RELAXED);
        lanes_look();
        lanes_relax(mode);
        pthread_mutex_unlock(&lanes_looking);
    }
    pthread_setcancelstate(before, NULL);
}

/* Until something is measured, with lanes_mutex held. The clock may be set meanwhile: no more than a rest
 * that is longer or shorter. */
static void wait_for_work(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += REST_NS;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    while (atomic_load(&lanes_running) == 0)
        if (pthread_cond_timedwait(&lanes_work, &lanes_mutex, &until) == ETIMEDOUT) break;
    if (atomic_load(&lanes_running) == 0) meters_rested();
    while (atomic_load(&lanes_running) == 0) pthread_cond_wait(&lanes_work, &lanes_mutex);
}

void *lanes_poll(void *nothing) {
    (void)nothing;
    lanes_relax(CU_STREAM_CAPTURE_MODE_RELAXED);
    for (;;) {
        pthread_mutex_lock(&lanes_mutex);
        if (atomic_load(&lanes_running) == 0) wait_for_work();
        pthread_mutex_unlock(&lanes_mutex);
        pthread_mutex_lock(&lanes_looking);
        lanes_look();
        pthread_mutex_unlock(&lanes_looking);
        struct timespec pause = {.tv_nsec = POLL_NS};
        nanosleep(&pause, NULL);
    }
    return NULL;
}
