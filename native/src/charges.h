/* What was taken for what: pointer or handle -> the charge to give back when it is freed. */
#pragma once

#include "budget.h"

/* Values of different kinds may be equal. */
typedef enum {
    CHARGE_POINTER = 1,
    CHARGE_ARRAY,
    CHARGE_EXTERNAL,
    CHARGE_GRAPH,
    CHARGE_CODE,
    CHARGE_SETTING, /* heap, stack and printf buffer of a context */
    CHARGE_CONTEXT,
    CHARGE_PRIMARY,
} charge_kind;

typedef struct {
    const budget *card;
    uint64_t owner; /* the context that it ends with; 0: on its own */
    charge taken;
    bool holder;  /* an array without memory of its own: what is mapped into it ends with it (physical.h) */
    int attached; /* to a context, beyond its first use */
} charged;

/* Remember a charge; 0 or -ENOMEM. What was known under a key that the driver gives out again has ended with
 * its context in another thread, which has not yet told us: it is given back. Code has keys of our own: what
 * threads have loaded of it at once adds up. */
int charges_put(charge_kind kind, uint64_t key, const charged *what);

/* Forget a charge and return it; false when there is none. */
bool charges_take(charge_kind kind, uint64_t key, charged *what);

/* The same of all charges of OWNER, which has ended. */
void charges_end(uint64_t owner, void (*give_back)(uint64_t key, const charged *what));

/* What ends with FROM ends with TO from now on. */
void charges_hand_over(uint64_t from, uint64_t to);

/* In the child of a fork: what the parent holds is not the child's. */
void charges_forked(void);
