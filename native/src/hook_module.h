/* The first launch of a function, at which the driver may load its code. */
#pragma once

#include "allocation.h"
#include "code.h"
#include "nvml_probe.h"

/* One call in which the driver may load code: what is reserved for it, and what is known of the code. */
typedef struct {
    request asked;
    held_charge held; /* what was taken for the same code before */
    code of;
    uint64_t key;
    nvml_used used;       /* before */
    const void *function; /* that is launched */
} loading;

/* Before FUNCTION is launched, when any waits for that (code_waiting); false when its code has no room. */
bool module_begins_launch(loading *self, const void *function);
void module_ends_launch(loading *self, CUresult result);
