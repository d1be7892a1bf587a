/* What a context takes of its card, and what ends with it. */
#pragma once

#include "nvml_probe.h"
#include "request.h"

/* Contexts are opened and ended one at a time in a process: so a difference belongs to one of them, and
 * nobody gets the handle of one before all that it owned is given back. */
void contexts_lock(void);
void contexts_unlock(void);

typedef struct {
    request asked;
    nvml_used before; /* by the driver's word, when the cost is not known yet */
} opening;

/* Reserve what a context is known to cost; false when it does not fit. */
bool context_begin(opening *self, CUdevice device);

/* The first context of a share tells what one costs; false when that is more than the share has left. */
bool context_measured(opening *self);

/* Whether a call that ends contexts has done so: what it tells may be an error of their last work. */
bool context_call_succeeded(CUresult result);

/* Give back all that ended with a context. */
void context_ended(uint64_t owner);

/* In the child of a fork. */
void contexts_forked(void);
