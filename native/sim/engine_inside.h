/* What engine.c, which queues operations, and engine_run.c, which runs them, share. */
#pragma once

#include <pthread.h>

#include "engine.h"

enum { ENGINE_QUEUE = 1024 };

/* DUE and CALLING: functions of the host. */
enum operation_state { WAITING, RUNNING, DUE, CALLING, ENDED };

struct operation {
    struct sim_work work;
    enum operation_state state;
    uint64_t after, submitted;
    uint64_t left; /* ns, while it runs */
    uint64_t next; /* number of the next of its stream, 0: none yet */
};

struct sim_engine {
    struct sim_state *state;
    int slot, card;
    bool started, calls_started;
    pthread_mutex_t mutex; /* guards all that follows, and the streams */
    pthread_cond_t work, calls, progress;
    uint64_t submitted, finished; /* numbers of operations; all up to `finished` have ended */
    struct sim_stream *streams;   /* that have work, the longest at it first */
    unsigned filled;              /* part of the card that runs */
    uint64_t position, booked;    /* device time until which all ran, and what is booked beyond */
    struct operation queue[ENGINE_QUEUE];
};

static inline struct operation *operation_of(struct sim_engine *e, uint64_t number) {
    return &e->queue[number % ENGINE_QUEUE];
}

bool engine_has_ended(const struct sim_engine *e, uint64_t number);

/* Calls `done` of the stream's first operation, without the lock, and goes on to its next one. */
void engine_end(struct sim_stream *stream, uint64_t device_time);

/* Begins the threads that run what is queued. */
bool engine_start(struct sim_engine *e);
