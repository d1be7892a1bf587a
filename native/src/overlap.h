/*
 * What work on several streams takes together. Short work is counted at what one launch takes between its own
 * events. On several streams that adds up to more than the device's time: kernels of four streams that run
 * beside each other, or wait for each other, seem to take four times what they cost. So measured launches are
 * compared with the one before: the device time between their ends with the work counted between them. Policy
 * only; one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A launch of counted work that was measured, and has ended. */
typedef struct {
    const void *stream;   /* only to be compared */
    unsigned holds;       /* how often somebody had been held back, so that the device may have had no work */
    uint64_t end, length; /* ns of device time */
    uint64_t place, cost; /* ns of all work submitted up to it, and of itself, as charged */
} overlap_sample;

typedef struct {
    overlap_sample before;
    unsigned mixed;          /* samples until only one stream was seen for long; 0: so it is */
    unsigned interrupted;    /* samples in a row that seem to be */
    int64_t passed, charged; /* since the estimate was last corrected */
    uint64_t estimate;       /* thousandths */
} overlap;

/* Samples come in the order of their ends. ALONE: no other process computes on the card. Returns the part of
 * what counted work seems to take that is to be charged, in thousandths. */
unsigned overlap_learn(overlap *self, const overlap_sample *sample, bool alone);
