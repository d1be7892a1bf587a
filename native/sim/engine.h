/*
 * The computing side of a simulated card. Each process has one engine for each card, and each stream is a
 * queue of operations in it. What is at the head of a queue runs beside the heads of the others as far as the
 * card has room. Cards are time-sliced between processes: an engine books the next slice of the card's device
 * time in the shared state, runs what it has until that has passed, and books again, so that processes with
 * work take turns.
 */
#pragma once

#include "node.h"

/* As on an H100 (`make test-gpu`, checks `slices` and `events`). */
#define SIM_SLICE_NS    2090000
#define SIM_SWITCH_NS   150000     /* from one process to another, which nobody computes in */
#define SIM_EVENT_NS    1000       /* of a stream's time, to note when an event passed */
#define SIM_REACTION_NS 5000       /* from a submission to an idle card until its work begins */
#define SIM_HOST_TIME   UINT64_MAX /* a cost: as long as `done` takes, on a thread of its own */
#define SIM_WHOLE_CARD  1000

/* Called when an operation ends, with the device time. */
typedef void sim_done(void *argument, uint64_t device_time);

struct sim_work {
    uint64_t cost; /* ns of device time, undisturbed */
    unsigned part; /* of SIM_WHOLE_CARD that it fills: what does not fit beside it waits */
    sim_done *done;
    void *argument;
};

/* How a stream goes with the default stream of its context: not at all, or neither begins what was submitted
 * later while the other has work. */
enum sim_order { SIM_BLOCKING, SIM_INDEPENDENT, SIM_DEFAULT };

struct sim_engine;

/* Zero but for the first three; must not go before its work has ended. */
struct sim_stream {
    struct sim_engine *engine;
    const void *context;
    enum sim_order order;
    uint64_t head, last; /* numbers of operations: the first that has not ended (0: none), the last of all */
    uint64_t free_at;    /* device time at which the one before the head ended */
    struct sim_stream *next; /* with work */
};

struct sim_engine *sim_engine_new(struct sim_state *state, int slot, int card);

/* Queues work; it begins when the operation `after` (0: none), of any stream of the engine, has ended as
 * well. Waits while the engine is full. Returns its number. */
uint64_t sim_engine_submit(struct sim_stream *stream, struct sim_work work, uint64_t after);

/* An event on an idle card passes at once, as on a real one, and no thread need wake up for it: calls `done`
 * here and returns its number, or 0 when the card is busy. */
uint64_t sim_engine_pass(struct sim_stream *stream, sim_done *done, void *argument);

bool sim_engine_ended(struct sim_engine *engine, uint64_t number);
void sim_engine_wait(struct sim_engine *engine, uint64_t number);
void sim_engine_wait_for_all(struct sim_engine *engine); /* that was submitted until now */
