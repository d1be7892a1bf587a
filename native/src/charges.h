/* What was taken for what: pointer or handle -> the charge to give back when it is freed. */
#pragma once

#include "budget.h"

/* Values of different kinds may be equal. */
typedef enum { CHARGE_POINTER = 1, CHARGE_HANDLE, CHARGE_ARRAY, CHARGE_CONTEXT, CHARGE_PRIMARY } charge_kind;

/* Remember a charge; 0 or -ENOMEM. */
int charges_put(charge_kind kind, uint64_t key, const budget *card, const charge *taken);

/* Forget a charge and return it; false when there is none. */
bool charges_take(charge_kind kind, uint64_t key, const budget **card, charge *taken);

/* In the child of a fork: what the parent holds is not the child's. */
void charges_forked(void);
