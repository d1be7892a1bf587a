/*
 * The computing side of a simulated card. Each process has one queue and one worker thread for each card;
 * work of a queue runs in the order of submission, which is a legal schedule for any use of streams and
 * events. Cards are time-sliced between processes: a worker books the next slice of the card's device time in
 * the shared state, waits until it has passed, and books again, so that processes with work take turns.
 */
#pragma once

#include "node.h"

/* As on an H100 (`make test-gpu`, checks `slices` and `events`). */
#define SIM_SLICE_NS    2090000
#define SIM_SWITCH_NS   150000     /* from one process to another, which nobody computes in */
#define SIM_EVENT_NS    1000       /* of a stream's time, to note when an event passed */
#define SIM_REACTION_NS 5000       /* from a submission to an idle card until its work begins */
#define SIM_HOST_TIME   UINT64_MAX /* a cost: the card waits for as long as `done` takes */

/* Called by the worker when an operation ends, with the device time. */
typedef void sim_done(void *argument, uint64_t device_time);

struct sim_engine;

struct sim_engine *sim_engine_new(struct sim_state *state, int slot, int card);

/* Queues `cost` ns of computing, then `done` (may be NULL). Waits while the queue is full. Returns its
 * number. */
uint64_t sim_engine_submit(struct sim_engine *engine, uint64_t cost, sim_done *done, void *argument);

/* An event on an idle card passes at once, as on a real one, and no worker need wake up for it: calls `done`
 * here and returns its number, or 0 when the card is busy. */
uint64_t sim_engine_pass(struct sim_engine *engine, sim_done *done, void *argument);

bool sim_engine_finished(struct sim_engine *engine, uint64_t number);
void sim_engine_wait(struct sim_engine *engine, uint64_t number);
uint64_t sim_engine_last(struct sim_engine *engine);
