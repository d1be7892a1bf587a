#include "overlap.h"

#include "throttle.h"

/* What is not derived was chosen on the tests' own card, which holds each from one side at least. */
enum {
    MEMORY = 64,            /* samples of one stream, some 50 ms, after which the others are forgotten */
    WINDOW_NS = 8000000,    /* of time and charges between two corrections: some five samples */
    SMOOTHING = 4,          /* corrections that count in the estimate: with fewer it follows chance */
    LEAST = 10,             /* corrections multiply: nothing would come back from 0 */
    TURN_LEAST_NS = 300000, /* of another process: two switches of 0.15 ms, as an H100 takes */
    TURNS_MOST = 8,         /* in a row: a slice of 2 ms between two turns has room for two samples without */
    MOST = 2000,            /* so that chance errs to both sides ... */
    NEARLY_WHOLE = 930,     /* ... of the whole, from here on */
};

static void correct(overlap *self) {
    int64_t charged = self->charged > 0 ? self->charged : 1, passed = self->passed > 0 ? self->passed : 0;
    uint64_t found = self->estimate * (uint64_t)passed / (uint64_t)charged;
    if (found > MOST) found = MOST;
    self->estimate = (self->estimate * (SMOOTHING - 1) + found) / SMOOTHING;
    if (self->estimate < LEAST) self->estimate = LEAST;
    self->passed = self->charged = 0;
}

static void note_stream(overlap *self, const void *stream) {
    if (stream == self->before.stream || !self->before.end) {
        if (self->mixed) self->mixed--;
        return;
    }
    if (!self->mixed) self->estimate = LEDGER_WHOLE_CARD, self->passed = self->charged = 0;
    self->mixed = MEMORY;
}

unsigned overlap_learn(overlap *self, const overlap_sample *sample, bool alone) {
    overlap_sample from = self->before;
    note_stream(self, sample->stream);
    self->before = *sample;
    if (!self->mixed) return LEDGER_WHOLE_CARD;
    int64_t passed = (int64_t)(sample->end - from.end), charged = (int64_t)(sample->place - from.place);
    bool held = sample->holds != from.holds;
    if (held) {
        /* The first of a burst is nearly always among the first that run beside each other, the last is
         * anywhere among the last: on average half of the time in which they run would be missing. */
        passed = (int64_t)(sample->length / 2), charged = (int64_t)(sample->cost / 2);
    }
    bool interrupted = !alone && passed > charged + TURN_LEAST_NS;
    self->interrupted = interrupted ? self->interrupted + 1 : 0;
    if (interrupted && self->interrupted < TURNS_MOST) passed = charged = 0;
    self->passed += passed, self->charged += charged;
    if (self->passed + self->charged > WINDOW_NS) correct(self);
    return self->estimate < NEARLY_WHOLE ? (unsigned)self->estimate : LEDGER_WHOLE_CARD;
}
