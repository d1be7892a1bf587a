/* The two threads of an engine: one passes the card's time, one calls functions of the host. */
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "engine_inside.h"

enum {
    AHEAD_NS = 50000, /* waits shorter than a timer's slack are not worth a sleep */
    TURN_NS = 200000,
};

/* --- What may run ----------------------------------------------------------------------------------------
 */

static struct operation *head_of(const struct sim_stream *stream) {
    return operation_of(stream->engine, stream->head);
}

static struct sim_stream *find(struct sim_engine *e, enum operation_state state, bool over) {
    for (struct sim_stream *each = e->streams; each; each = each->next)
        if (head_of(each)->state == state && (!over || head_of(each)->left == 0)) return each;
    return NULL;
}

/* By its context's default stream, or as that by one of the others. */
static bool is_held(const struct sim_stream *stream) {
    if (stream->order == SIM_INDEPENDENT) return false;
    enum sim_order by = stream->order == SIM_DEFAULT ? SIM_BLOCKING : SIM_DEFAULT;
    for (const struct sim_stream *each = stream->engine->streams; each; each = each->next)
        if (each->context == stream->context && each->order == by && each->head < stream->head) return true;
    return false;
}

static bool may_begin(const struct sim_stream *stream) {
    return head_of(stream)->state == WAITING && engine_has_ended(stream->engine, head_of(stream)->after) &&
           !is_held(stream);
}

/* An idle card notes an event at once, but begins with work a little later. */
static uint64_t ready_at(const struct sim_stream *stream) {
    const struct operation *op = head_of(stream);
    uint64_t seen_at = op->submitted + (op->work.cost > SIM_EVENT_NS ? SIM_REACTION_NS : 0);
    return seen_at > stream->free_at ? seen_at : stream->free_at;
}

static void *call_host(void *engine);
static void call(struct sim_engine *e, struct operation *op) {
    pthread_t thread;
    op->state = DUE;
    if (!e->calls_started && pthread_create(&thread, NULL, call_host, e) == 0) {
        e->calls_started = true;
        pthread_detach(thread);
    }
    pthread_cond_signal(&e->calls);
}

/* Begins what may run now; returns when the next may, UINT64_MAX when that is not known. */
static uint64_t begin(struct sim_engine *e) {
    uint64_t next = UINT64_MAX;
    for (struct sim_stream *each = e->streams; each; each = each->next) {
        struct operation *op = head_of(each);
        if (!may_begin(each)) continue;
        uint64_t ready = ready_at(each);
        if (op->work.cost == SIM_HOST_TIME) {
            call(e, op);
        } else if (ready > e->position) {
            if (ready < next) next = ready;
        } else if (e->filled == 0 || e->filled + op->work.part <= SIM_WHOLE_CARD) {
            op->state = RUNNING, op->left = op->work.cost;
            e->filled += op->work.part;
        }
    }
    return next;
}

/* --- The card's time -------------------------------------------------------------------------------------
 */

static void sleep_until(uint64_t time) {
    if (time <= sim_now() + AHEAD_NS) return;
    struct timespec t = {.tv_sec = (time_t)(time / 1000000000u), .tv_nsec = (long)(time % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

/* The time until END, which is over sooner when other work is submitted. */
static void wait_until(struct sim_engine *e, uint64_t end) {
    if (end <= sim_now() + AHEAD_NS) return;
    struct timespec t = {.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};
    pthread_cond_timedwait(&e->work, &e->mutex, &t);
}

/* Books `ns` of the card not before `ready`; returns when it ends. */
static uint64_t book(_Atomic uint64_t *busy_until, uint64_t ready, uint64_t ns) {
    uint64_t taken = atomic_load(busy_until), end;
    do end = (taken > ready ? taken : ready) + ns;
    while (!atomic_compare_exchange_weak(busy_until, &taken, end));
    return end;
}

/* How long all that can run now will take, at least, as far as it matters for one slice. */
static uint64_t backlog(struct sim_engine *e) {
    uint64_t longest = 0, all = 0;
    for (struct sim_stream *each = e->streams; each; each = each->next) {
        uint64_t sum = 0;
        if (head_of(each)->state != RUNNING && !may_begin(each)) continue;
        for (uint64_t number = each->head; number && sum < SIM_SLICE_NS;) {
            const struct operation *op = operation_of(e, number);
            if (op->work.cost == SIM_HOST_TIME || !engine_has_ended(e, op->after)) break;
            uint64_t ns = op->state == RUNNING ? op->left : op->work.cost;
            sum += ns, all += ns * op->work.part / SIM_WHOLE_CARD;
            number = op->next;
        }
        if (sum > longest) longest = sum;
    }
    return longest > all ? longest : all;
}

/* A slice lasts while there is work: what is queued until another process's slice ends counts, so it is asked
 * just before that. */
static void await_turn(struct sim_engine *e) {
    uint64_t taken = atomic_load(&e->state->busy_until[e->card]);
    if (taken <= e->position + TURN_NS) return;
    pthread_mutex_unlock(&e->mutex);
    sleep_until(taken - TURN_NS);
    pthread_mutex_lock(&e->mutex);
}

/* What it takes to make this process the one that computes. */
static uint64_t switching(struct sim_engine *e) {
    unsigned self = (unsigned)e->slot + 1, before = atomic_exchange(&e->state->runner[e->card], self);
    return before && before != self ? SIM_SWITCH_NS : 0;
}

/* A slice is booked for all work that waits, so that a process with many short kernels gets as much as one
 * with few long ones, and no booked time goes to waste. */
static void book_slice(struct sim_engine *e) {
    await_turn(e);
    uint64_t wanted = backlog(e);
    e->booked = wanted < SIM_SLICE_NS ? wanted : SIM_SLICE_NS;
    uint64_t taken = e->booked + switching(e);
    e->position = book(&e->state->busy_until[e->card], e->position, taken) - e->booked;
}

/* Passes the card's time up to NEXT, or until something ends or begins before that. */
static void run(struct sim_engine *e, uint64_t next) {
    uint64_t step = e->booked;
    if (step > next - e->position) step = next - e->position;
    for (struct sim_stream *each = e->streams; each; each = each->next)
        if (head_of(each)->state == RUNNING && head_of(each)->left < step) step = head_of(each)->left;
    wait_until(e, e->position + step);
    uint64_t now = sim_now();
    if (now + AHEAD_NS < e->position + step) step = now > e->position ? now - e->position : 0;
    for (struct sim_stream *each = e->streams; each; each = each->next)
        if (head_of(each)->state == RUNNING) head_of(each)->left -= step;
    e->position += step, e->booked -= step;
    if (step) sim_state_add_busy(e->state, e->slot, e->card, e->position, step);
}

/* The card had nothing to do until NEXT; so much of a slice is lost. */
static void skip_to(struct sim_engine *e, uint64_t next) {
    uint64_t lost = next - e->position;
    e->booked = e->booked > lost ? e->booked - lost : 0;
    e->position = next;
}

static void *pass_time(void *argument) {
    struct sim_engine *e = argument;
    pthread_mutex_lock(&e->mutex);
    for (;;) {
        uint64_t next = begin(e);
        struct sim_stream *over = find(e, RUNNING, true);
        if (over) {
            e->filled -= head_of(over)->work.part;
            engine_end(over, e->position);
        } else if (find(e, RUNNING, false)) {
            if (e->booked == 0) book_slice(e);
            run(e, next);
        } else if (next != UINT64_MAX) {
            skip_to(e, next);
        } else {
            e->booked = 0;
            pthread_cond_wait(&e->work, &e->mutex);
        }
    }
    return NULL;
}

/* --- Functions of the host -------------------------------------------------------------------------------
 */

static void *call_host(void *engine) {
    struct sim_engine *e = engine;
    pthread_mutex_lock(&e->mutex);
    for (;;) {
        struct sim_stream *due = find(e, DUE, false);
        if (due) {
            head_of(due)->state = CALLING;
            engine_end(due, sim_now());
            due->free_at = sim_now(); /* nobody has seen yet that it ended */
            pthread_cond_signal(&e->work);
        } else {
            pthread_cond_wait(&e->calls, &e->mutex);
        }
    }
    return NULL;
}

/* The program's signals belong to its own threads. */
bool engine_start(struct sim_engine *e) {
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, pass_time, e) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) pthread_detach(thread);
    return started;
}
