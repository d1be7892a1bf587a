#include "engine.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum {
    QUEUE = 1024,
    AHEAD_NS = 50000, /* waits shorter than a timer's slack are not worth a sleep */
    TURN_NS = 200000,
};

struct operation {
    uint64_t cost, submitted;
    sim_done *done;
    void *argument;
};

struct sim_engine {
    struct sim_state *state;
    int slot, card;
    bool started;
    uint64_t submitted, finished; /* numbers of operations */
    uint64_t position, booked; /* of the worker: device time of the last end, and what it has booked beyond */
    pthread_mutex_t mutex;
    pthread_cond_t work, progress;
    struct operation queue[QUEUE];
};

struct sim_engine *sim_engine_new(struct sim_state *state, int slot, int card) {
    struct sim_engine *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->state = state, e->slot = slot, e->card = card;
    pthread_mutex_init(&e->mutex, NULL);
    pthread_cond_init(&e->work, NULL);
    pthread_cond_init(&e->progress, NULL);
    return e;
}

static void sleep_until(uint64_t time) {
    if (time <= sim_now() + AHEAD_NS) return;
    struct timespec t = {.tv_sec = (time_t)(time / 1000000000u), .tv_nsec = (long)(time % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

/* Books `ns` of the card not before `ready`; returns when it ends. */
static uint64_t book(_Atomic uint64_t *busy_until, uint64_t ready, uint64_t ns) {
    uint64_t taken = atomic_load(busy_until), end;
    do end = (taken > ready ? taken : ready) + ns;
    while (!atomic_compare_exchange_weak(busy_until, &taken, end));
    return end;
}

/* What is queued behind the running operation, as far as it matters for one slice. */
static uint64_t backlog(struct sim_engine *e) {
    uint64_t sum = 0;
    pthread_mutex_lock(&e->mutex);
    for (uint64_t i = e->finished + 1; i < e->submitted && sum < SIM_SLICE_NS; i++) {
        if (e->queue[i % QUEUE].cost == SIM_HOST_TIME) break;
        sum += e->queue[i % QUEUE].cost;
    }
    pthread_mutex_unlock(&e->mutex);
    return sum;
}

/* A slice lasts while there is work: what is queued until another process's slice ends counts, so it is asked
 * just before that. */
static void await_turn(struct sim_engine *e) {
    uint64_t taken = atomic_load(&e->state->busy_until[e->card]);
    if (taken > e->position + TURN_NS) sleep_until(taken - TURN_NS);
}

/* What it takes to make this process the one that computes. */
static uint64_t switching(struct sim_engine *e) {
    unsigned self = (unsigned)e->slot + 1, before = atomic_exchange(&e->state->runner[e->card], self);
    return before && before != self ? SIM_SWITCH_NS : 0;
}

/*
 * Runs one operation of `cost` ns that is ready at device time `ready`. A slice is booked for all work that
 * waits, so that a process with many short kernels gets as much as one with few long ones, and no booked time
 * goes to waste.
 */
static void compute(struct sim_engine *e, uint64_t ready, uint64_t cost) {
    if (e->position < ready && e->booked == 0) e->position = ready;
    while (cost > 0) {
        if (e->booked == 0) {
            await_turn(e);
            uint64_t wanted = cost + backlog(e);
            e->booked = wanted < SIM_SLICE_NS ? wanted : SIM_SLICE_NS;
            uint64_t taken = e->booked + switching(e);
            e->position = book(&e->state->busy_until[e->card], e->position, taken) - e->booked;
        }
        uint64_t step = cost < e->booked ? cost : e->booked;
        e->position += step, e->booked -= step, cost -= step;
        sleep_until(e->position);
        sim_state_add_busy(e->state, e->slot, e->card, e->position, step);
    }
}

/* What comes behind a function of the host begins when that returns; what was left of the slice is lost. */
static void call_host(struct sim_engine *e, const struct operation *op) {
    if (e->position < op->submitted) e->position = op->submitted;
    op->done(op->argument, e->position);
    uint64_t now = sim_now();
    if (now > e->position) e->position = now, e->booked = 0;
}

/* An idle card notes an event at once, but begins with work a little later. */
static uint64_t reaction(const struct operation *op) { return op->cost > SIM_EVENT_NS ? SIM_REACTION_NS : 0; }

static void *worker(void *argument) {
    struct sim_engine *e = argument;
    pthread_mutex_lock(&e->mutex);
    for (;;) {
        while (e->finished == e->submitted) pthread_cond_wait(&e->work, &e->mutex);
        struct operation op = e->queue[e->finished % QUEUE];
        pthread_mutex_unlock(&e->mutex);
        if (op.cost == SIM_HOST_TIME) {
            call_host(e, &op);
        } else {
            compute(e, op.submitted + reaction(&op), op.cost);
            if (op.done) op.done(op.argument, e->position);
        }
        pthread_mutex_lock(&e->mutex);
        e->finished++;
        pthread_cond_broadcast(&e->progress);
    }
    return NULL;
}

/* The program's signals belong to its own threads. */
static void start(struct sim_engine *e) {
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    e->started = pthread_create(&thread, NULL, worker, e) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e->started) pthread_detach(thread);
}

uint64_t sim_engine_pass(struct sim_engine *e, sim_done *done, void *argument) {
    uint64_t number = 0, now = sim_now();
    pthread_mutex_lock(&e->mutex);
    if (e->finished == e->submitted && e->booked == 0 && atomic_load(&e->state->busy_until[e->card]) <= now) {
        e->position = now;
        done(argument, now);
        number = e->finished = ++e->submitted;
    }
    pthread_mutex_unlock(&e->mutex);
    return number;
}

uint64_t sim_engine_submit(struct sim_engine *e, uint64_t cost, sim_done *done, void *argument) {
    pthread_mutex_lock(&e->mutex);
    if (!e->started) start(e);
    while (e->submitted - e->finished == QUEUE) pthread_cond_wait(&e->progress, &e->mutex);
    e->queue[e->submitted % QUEUE] = (struct operation){cost, sim_now(), done, argument};
    uint64_t number = ++e->submitted;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->mutex);
    return number;
}

bool sim_engine_finished(struct sim_engine *e, uint64_t number) {
    pthread_mutex_lock(&e->mutex);
    bool finished = e->finished >= number;
    pthread_mutex_unlock(&e->mutex);
    return finished;
}

void sim_engine_wait(struct sim_engine *e, uint64_t number) {
    pthread_mutex_lock(&e->mutex);
    while (e->finished < number) pthread_cond_wait(&e->progress, &e->mutex);
    pthread_mutex_unlock(&e->mutex);
}

uint64_t sim_engine_last(struct sim_engine *e) {
    pthread_mutex_lock(&e->mutex);
    uint64_t number = e->submitted;
    pthread_mutex_unlock(&e->mutex);
    return number;
}
