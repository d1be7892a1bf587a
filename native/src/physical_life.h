/*
 * How long a piece of physical memory lives, or an object that holds such memory: until its last reference in
 * this process is dropped, and longer when it left this process and is held elsewhere. For physical.c, which
 * knows by what it is referred to; between physical_lock and physical_unlock.
 */
#pragma once

#include "exported.h"
#include "physical.h"

struct physical {
    const budget *card; /* NULL: an object that holds such memory */
    charge taken;
    int device;
    int references;
    exported mark;     /* when it left this process */
    physical *next;    /* of those that did */
    bool unfollowed;   /* it left in a way that cannot be followed */
    binding *bindings; /* what the object holds */
};

struct binding {
    physical *memory;
    int device;
    uint64_t offset, size;
    binding *next;
};

void physical_lock(void);
void physical_unlock(void);

/* One reference less, and those of what was bound. */
void physical_drop(physical *self);
void physical_drop_bound(binding *each);

/* From now on others may hold it, by its mark; what did so by this one, or NULL. */
void physical_leaves(physical *self);
physical *physical_that_left(uint64_t mark);

/* When some that left wait for their end elsewhere: look whether that has come. */
void physical_look(void);

/* In the child of a fork. */
void physical_lives_forked(void);
