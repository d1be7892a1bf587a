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

/* Memory of a device, charged; or a multicast object or sparse array. */
void physical_created(uint64_t handle, int device, const budget *card, const charge *taken);
void physical_holder(uint64_t handle);

/* A reference to what a handle stands for or an address is mapped to, taken before the driver is called,
 * since another thread may release or unmap it meanwhile. NULL, which goes everywhere: not ours. */
physical *physical_use(uint64_t handle);
physical *physical_use_at(uint64_t address);

/* What becomes of such a reference after the call: it is a mapping's or one more of a handle, it goes
 * together with one that the handle had, or it goes alone. */
void physical_mapped(uint64_t address, size_t size, physical *self);
void physical_add_handle(uint64_t handle, physical *self);
void physical_released(uint64_t handle, physical *self);
void physical_let_go(physical *self);

/* All mappings within the range have ended that there were at a MOMENT before the driver was asked: another
 * thread may have mapped there since. */
uint64_t physical_moment(void);
void physical_unmapped(uint64_t address, size_t size, uint64_t moment);

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
void physical_exported(physical *self, int descriptor);

/* A new handle was got from a descriptor, of this process or another; -1: from a handle of another kind. */
void physical_imported(uint64_t handle, int descriptor);

/* Give back what nobody holds any more; whether that was anything. */
bool physical_settle(void);

/* In the child of a fork: nothing of this is the child's. */
void physical_forked(void);
