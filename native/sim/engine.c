#include "engine_inside.h"

#include <stdlib.h>
#include <time.h>

struct sim_engine *sim_engine_new(struct sim_state *state, int slot, int card) {
    struct sim_engine *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->state = state, e->slot = slot, e->card = card;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&e->mutex, NULL);
    pthread_cond_init(&e->work, &monotonic);
    pthread_cond_init(&e->calls, NULL);
    pthread_cond_init(&e->progress, NULL);
    return e;
}

bool engine_has_ended(const struct sim_engine *e, uint64_t number) {
    return number <= e->finished || e->queue[number % ENGINE_QUEUE].state == ENDED;
}

static void add_stream(struct sim_stream *stream) {
    struct sim_stream **end = &stream->engine->streams;
    while (*end) end = &(*end)->next;
    *end = stream, stream->next = NULL;
}

static void remove_stream(struct sim_stream *stream) {
    struct sim_stream **link = &stream->engine->streams;
    while (*link != stream) link = &(*link)->next;
    *link = stream->next;
}

uint64_t sim_engine_submit(struct sim_stream *stream, struct sim_work work, uint64_t after) {
    struct sim_engine *e = stream->engine;
    pthread_mutex_lock(&e->mutex);
    if (!e->started) e->started = engine_start(e);
    while (e->submitted - e->finished == ENGINE_QUEUE) pthread_cond_wait(&e->progress, &e->mutex);
    uint64_t number = ++e->submitted;
    *operation_of(e, number) = (struct operation){.work = work, .after = after, .submitted = sim_now()};
    if (stream->head) {
        operation_of(e, stream->last)->next = number;
    } else {
        stream->head = number;
        add_stream(stream);
        pthread_cond_signal(&e->work);
    }
    stream->last = number;
    pthread_mutex_unlock(&e->mutex);
    return number;
}

void engine_end(struct sim_stream *stream, uint64_t device_time) {
    struct sim_engine *e = stream->engine;
    struct operation *op = operation_of(e, stream->head);
    if (op->work.done) {
        pthread_mutex_unlock(&e->mutex);
        op->work.done(op->work.argument, device_time);
        pthread_mutex_lock(&e->mutex);
    }
    op->state = ENDED;
    stream->head = op->next, stream->free_at = device_time;
    if (!stream->head) remove_stream(stream);
    while (e->finished < e->submitted && operation_of(e, e->finished + 1)->state == ENDED) e->finished++;
    pthread_cond_broadcast(&e->progress);
}

uint64_t sim_engine_pass(struct sim_stream *stream, sim_done *done, void *argument) {
    struct sim_engine *e = stream->engine;
    uint64_t number = 0, now = sim_now();
    pthread_mutex_lock(&e->mutex);
    if (!e->streams && e->booked == 0 && atomic_load(&e->state->busy_until[e->card]) <= now) {
        e->position = now;
        done(argument, now);
        number = stream->last = e->finished = ++e->submitted;
    }
    pthread_mutex_unlock(&e->mutex);
    return number;
}

bool sim_engine_ended(struct sim_engine *e, uint64_t number) {
    pthread_mutex_lock(&e->mutex);
    bool ended = engine_has_ended(e, number);
    pthread_mutex_unlock(&e->mutex);
    return ended;
}

void sim_engine_wait(struct sim_engine *e, uint64_t number) {
    pthread_mutex_lock(&e->mutex);
    while (!engine_has_ended(e, number)) pthread_cond_wait(&e->progress, &e->mutex);
    pthread_mutex_unlock(&e->mutex);
}

void sim_engine_wait_for_all(struct sim_engine *e) {
    pthread_mutex_lock(&e->mutex);
    for (uint64_t last = e->submitted; e->finished < last;) pthread_cond_wait(&e->progress, &e->mutex);
    pthread_mutex_unlock(&e->mutex);
}
