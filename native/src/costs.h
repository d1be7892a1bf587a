/* What work costs in device time, learnt: (function, shape) or graph -> ns. Policy only; any thread, no lock.
 */
#pragma once

#include <stdint.h>

/* Measurements until now and then is enough, and how many more after one that is doubted. Fewer may hide that
 * the work is long at times, and all but a few launches in a hundred would be charged too little until chance
 * finds one of those: of work that is long once in twenty launches 128 miss it once in 700 programs. */
enum { COST_SETTLED = 128, COST_DOUBTED = 16 };

typedef struct {
    _Atomic uint64_t key;
    _Atomic uint64_t ns;       /* the mean; 0: never measured */
    _Atomic uint64_t longest;  /* measured lately */
    _Atomic uint32_t samples;  /* up to COST_SETTLED */
    _Atomic uint32_t outliers; /* how improbable it is that no measurement in a row was to be believed */
} cost;

/* The entry of work; another work's is taken over when its place is full. */
cost *cost_of(const void *function, uint64_t shape);

/* Take a measurement into the mean, in which recent ones count more. */
void cost_learn(cost *self, uint64_t sample_ns);

/* A measurement that is far above the mean, and not believed, as something may have interrupted the work. The
 * shorter the work is beside it, the less often that happens: some in a row say that the work has changed. */
void cost_doubt(cost *self, uint64_t sample_ns);
