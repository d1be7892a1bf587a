/* One list of what left this process, and a thread while some of it is held elsewhere alone. */
#include "physical_life.h"

#include <stdlib.h>
#include <unistd.h>

#include "background.h"
#include "lock.h"

enum { LOOK_US = 20000 };

static physical *left; /* this process, some of them without a reference here */
static bool looking;   /* a thread waits for those to end */
static lock guard = NEW_LOCK;

void physical_lock(void) { lock_take(&guard); }
void physical_unlock(void) { lock_release(&guard); }

/* Nobody holds it any more, here or elsewhere. */
static void end(physical *self) {
    physical **at = &left;
    while (*at && *at != self) at = &(*at)->next;
    if (*at) *at = self->next;
    if (self->card) budget_refund(self->card, &self->taken);
    physical_drop_bound(self->bindings);
    free(self);
}

static bool is_held_elsewhere_alone(const physical *self) {
    return self->references == 0 && !self->unfollowed;
}

/* End the first that left this process and is without a holder now; what it held may end with it. */
static bool end_one(void) {
    physical *each = left;
    while (each && !(is_held_elsewhere_alone(each) && !exported_elsewhere(&each->mark))) each = each->next;
    if (each) end(each);
    return each;
}

static bool settle(void) {
    bool any = false;
    while (end_one()) any = true;
    return any;
}

bool physical_settle(void) {
    physical_lock();
    bool any = settle();
    physical_unlock();
    return any;
}

void physical_look(void) {
    if (looking) settle();
}

static bool any_waits(void) {
    const physical *each = left;
    while (each && !is_held_elsewhere_alone(each)) each = each->next;
    return each;
}

static void *look(void *unused) {
    for (bool any = true; any;) {
        usleep(LOOK_US);
        physical_lock();
        settle();
        looking = any = any_waits();
        physical_unlock();
    }
    return unused;
}

/* Others of the share wait for what this process may never ask for again. */
static void start_to_look(void) { looking = looking || background_start(look); }

void physical_drop(physical *self) {
    if (--self->references > 0) return;
    bool holds = self->card || self->bindings;
    if (!self->card && self->mark.number) exported_let_go(&self->mark);
    if (holds && self->unfollowed) return;
    if (holds && self->mark.number && exported_elsewhere(&self->mark))
        start_to_look();
    else
        end(self);
}

void physical_drop_bound(binding *each) {
    for (binding *next; each; each = next) {
        next = each->next;
        physical_drop(each->memory);
        free(each);
    }
}

void physical_leaves(physical *self) {
    self->next = left;
    left = self;
    if (!self->card) exported_hold(&self->mark);
}

physical *physical_that_left(uint64_t mark) {
    physical *each = left;
    while (each && each->mark.number != mark) each = each->next;
    return each;
}

void physical_lives_forked(void) {
    lock_reset(&guard);
    left = NULL;
    looking = false;
    exported_forked();
}
