#include "turns.h"

#include "throttle.h"

enum { MOST = 8, MEMORY = 64 };

void turns_saw(turns *self, const void *stream) {
    if (self->stream && self->stream != stream)
        self->mixed = MEMORY, self->evidence = 0;
    else if (self->mixed)
        self->mixed--;
    self->stream = stream;
}

void turns_learn(turns *self, uint64_t start, uint64_t end, uint64_t known, unsigned holds) {
    bool comparable = !self->mixed && self->holds == holds;
    /* The one went on, and the other had begun, outside the turns. */
    if (comparable && start - self->end + 2 * known < SLICE_WORK_NS) {
        if (self->evidence < MOST) self->evidence++;
    } else if (comparable && self->evidence) {
        self->evidence--;
    }
    self->end = end, self->holds = holds;
}
