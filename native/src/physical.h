/*
 * Physical memory of the VMM interface. A program usually releases the handle as soon as it has mapped it:
 * the memory lives on, so the charge counts references, from handles, from mappings, and from what else holds
 * it: multicast objects and sparse arrays. Those are counted here in the same way, without a charge. What was
 * exported lives until its last descriptor is closed, wherever that is. Policy only.
 */
#pragma once

#include <stddef.h>

#include "budget.h"

typedef struct physical physical;
typedef struct binding binding;
typedef struct mapped mapped;

/* Memory of a device, charged; or a multicast object or sparse array. */
void physical_created(uint64_t handle, int device, const budget *card, const charge *taken);
void physical_holder(uint64_t handle);

/* One more handle (or the same once more) for what is mapped at ADDRESS. */
void physical_retained(uint64_t handle, uint64_t address);
void physical_mapped(uint64_t address, size_t size, uint64_t handle);

/* All mappings within the range, taken out before the driver ends them, since another thread may map there at
 * once. NULL: nothing of ours. */
mapped *physical_unmap(uint64_t address, size_t size);
void physical_unmapped(mapped *gone);
void physical_map_again(mapped *kept);

/* A reference of a handle, taken out before the driver releases it, which may give its value out again at
 * once. NULL when it is not ours. */
physical *physical_hold(uint64_t handle);
void physical_let_go(physical *self);
void physical_put_back(uint64_t handle, physical *self);

/* An object holds memory from now on, that of a handle or all that is mapped in a range. Where in the object:
 * at an offset of a multicast object, by DEVICE (-1: the card where the memory lies), or in a part of an
 * array. */
void physical_bound(uint64_t object, int device, uint64_t offset, size_t size, uint64_t memory);
void physical_bound_at(uint64_t object, int device, uint64_t offset, size_t size, uint64_t address);

/* What was bound so, taken out before the driver unbinds it; NULL: nothing of ours. */
binding *physical_unbind(uint64_t object, int device, uint64_t offset, size_t size);
void physical_unbound(binding *gone);
void physical_bind_again(uint64_t object, binding *kept);

/* A descriptor of it was made; -1: a handle of another kind, which cannot be followed. */
void physical_exported(uint64_t handle, int descriptor);

/* A new handle was got from a descriptor, of this process or another; -1: from a handle of another kind. */
void physical_imported(uint64_t handle, int descriptor);

/* Give back what nobody holds any more; whether that was anything. */
bool physical_settle(void);

/* In the child of a fork: nothing of this is the child's. */
void physical_forked(void);
