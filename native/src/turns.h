/*
 * Whether short work that seems to take long was interrupted by another process's turn, or is long at times.
 * A process that has work keeps the card for a slice before it is another's turn. So of two such measurements
 * with less than a slice between them, one was no turn. Policy only; one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { TURNS_BELIEVED = 3 };

typedef struct {
    uint64_t end;       /* device time of the last such measurement */
    unsigned holds;     /* as of the meter: between two of them the process may have had no work */
    unsigned evidence;  /* that they are no turns */
    const void *stream; /* of the last measurement of all; only to be compared */
    unsigned mixed;     /* measurements until only one stream was seen for long; 0: so it is */
} turns;

/* Whether the process has work that is long at times, so that such measurements are to be believed. */
static inline bool turns_believed(const turns *self) { return self->evidence >= TURNS_BELIEVED; }

/* Each measurement, with its stream. Of several streams nobody can tell. */
void turns_saw(turns *self, const void *stream);

/* Such a measurement, of work that is known to cost KNOWN ns, lasted from START to END. In the order of the
 * ends. */
void turns_learn(turns *self, uint64_t start, uint64_t end, uint64_t known, unsigned holds);
