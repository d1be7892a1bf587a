/* What work costs in device time, learnt: (function, shape) or graph -> ns. Policy only; any thread, no lock.
 */
#pragma once

#include <stdint.h>

typedef struct {
    _Atomic uint64_t key;
    _Atomic uint64_t ns; /* 0: never measured */
    _Atomic uint32_t samples;
} cost;

/* The entry of work; another work's is taken over when its place is full. */
cost *cost_of(const void *function, uint64_t shape);

/* Take a measurement into the mean, in which recent ones count more. */
void cost_learn(cost *self, uint64_t sample_ns);
