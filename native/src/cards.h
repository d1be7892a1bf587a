/* Which budget a CUDA or NVML device belongs to, and what a call may do when there is none. */
#pragma once

#include "budget.h"
#include "hooks.h"

typedef enum {
    CARD_FREE,    /* no shares in this container: the limiter has no effect */
    CARD_LIMITED, /* `card` is its budget */
    CARD_REFUSED, /* shares are broken, or this card has none: fail closed */
} card_state;

/* Whether this container has shares that can be used, or none at all, so that everything is CARD_FREE. */
bool cards_are_limited(void);
bool cards_are_free(void);

card_state card_of_device(CUdevice device, budget **card);
card_state card_of_context(budget **card); /* the current context's device */
card_state card_of_uuid(const char *uuid, budget **card);

/* What cards.c has run in the child of a fork, once there are shares: fork.c, which knows all that keeps
 * state. */
void after_fork(void);
