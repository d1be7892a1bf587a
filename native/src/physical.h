/*
 * Physical memory of the VMM interface. A program usually releases the handle as soon as it has mapped it:
 * the memory lives on, so the charge counts references, from handles and from mappings. Policy only.
 */
#pragma once

#include <stddef.h>

#include "budget.h"

typedef struct physical physical;

void physical_created(uint64_t handle, const budget *card, const charge *taken);

/* One more handle (or the same once more) for what is mapped at ADDRESS. */
void physical_retained(uint64_t handle, uint64_t address);
void physical_mapped(uint64_t address, size_t size, uint64_t handle);

/* All mappings within the range, which the driver has just ended. */
void physical_unmapped(uint64_t address, size_t size);

/* A reference of a handle, taken out before the driver releases it, which may give its value out again at
 * once. NULL when it is not ours. */
physical *physical_hold(uint64_t handle);
void physical_let_go(physical *self);
void physical_put_back(uint64_t handle, physical *self);

/* In the child of a fork: nothing of this is the child's. */
void physical_forked(void);
