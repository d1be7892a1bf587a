/* Two trees and a list under one lock; mapping and binding are far slower in the driver than here. */
#include "physical.h"

#include <search.h>
#include <stdlib.h>
#include <unistd.h>

#include "background.h"
#include "exported.h"
#include "lock.h"

enum { LOOK_US = 20000 };

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

/* A handle, or a range of addresses: ranges that overlap compare equal. */
typedef struct {
    uint64_t start, end;
    physical *memory;
    uint64_t number; /* of all entries */
    int times;       /* that the handle must be released */
} entry;

static void *handles, *mappings;
static uint64_t entries; /* that there ever were */
static physical *left;   /* this process, some of them without a reference here */
static bool looking;     /* a thread waits for those to end */
static lock guard = NEW_LOCK;

static int compare(const void *a, const void *b) {
    const entry *one = a, *other = b;
    return one->end <= other->start ? -1 : one->start >= other->end;
}

static entry *find(void *const *tree, uint64_t start, uint64_t end) {
    entry key = {.start = start, .end = end}, **node = tfind(&key, tree, compare);
    return node ? *node : NULL;
}

static physical *of_handle(uint64_t handle) {
    entry *known = find(&handles, handle, handle + 1);
    return known ? known->memory : NULL;
}

/* Without host memory for the entry the reference stays, and the charge with it: the safe side. */
static void insert(void **tree, uint64_t start, uint64_t end, physical *memory) {
    entry *added = malloc(sizeof *added);
    if (!added) return;
    *added = (entry){start, end, memory, ++entries, 1};
    if (!tsearch(added, tree, compare)) free(added);
}

static void take_out(void **tree, entry *gone) {
    tdelete(gone, tree, compare);
    free(gone);
}

static void drop(physical *self);

static void drop_bound(binding *each) {
    for (binding *next; each; each = next) {
        next = each->next;
        drop(each->memory);
        free(each);
    }
}

/* Nobody holds it any more, here or elsewhere. */
static void end(physical *self) {
    for (physical **at = &left; *at; at = &(*at)->next)
        if (*at == self) {
            *at = self->next;
            break;
        }
    if (self->card) budget_refund(self->card, &self->taken);
    drop_bound(self->bindings);
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

static bool any_waits(void) {
    const physical *each = left;
    while (each && !is_held_elsewhere_alone(each)) each = each->next;
    return each;
}

static void *look(void *unused) {
    for (bool any = true; any;) {
        usleep(LOOK_US);
        lock_take(&guard);
        settle();
        looking = any = any_waits();
        lock_release(&guard);
    }
    return unused;
}

/* Others of the share wait for what this process may never ask for again. */
static void start_to_look(void) { looking = looking || background_start(look); }

static void drop(physical *self) {
    if (--self->references > 0) return;
    bool holds = self->card || self->bindings;
    if (!self->card && self->mark.number) exported_let_go(&self->mark);
    if (holds && self->unfollowed) return;
    if (holds && self->mark.number && exported_elsewhere(&self->mark))
        start_to_look();
    else
        end(self);
}

/* The driver gives a value out again as soon as it is released, of which the other thread has yet to tell. */
static void add_handle(uint64_t handle, physical *memory) {
    entry *known = find(&handles, handle, handle + 1);
    if (!known) {
        insert(&handles, handle, handle + 1, memory);
    } else if (known->memory == memory) {
        known->times++;
    } else {
        entry before = *known;
        known->memory = memory, known->times = 1;
        while (before.times-- > 0) drop(before.memory);
    }
}

static physical *add(uint64_t handle, physical what) {
    physical *added = malloc(sizeof *added);
    if (!added) return NULL;
    *added = what;
    added->references = 1;
    add_handle(handle, added);
    return added;
}

void physical_created(uint64_t handle, int device, const budget *card, const charge *taken) {
    lock_take(&guard);
    add(handle, (physical){.device = device, .card = card, .taken = *taken});
    lock_release(&guard);
}

void physical_holder(uint64_t handle) {
    lock_take(&guard);
    add(handle, (physical){.card = NULL});
    lock_release(&guard);
}

static physical *use(void *const *tree, uint64_t at) {
    lock_take(&guard);
    entry *known = find(tree, at, at + 1);
    physical *memory = known ? known->memory : NULL;
    if (memory) memory->references++;
    lock_release(&guard);
    return memory;
}

physical *physical_use(uint64_t handle) { return use(&handles, handle); }
physical *physical_use_at(uint64_t address) { return use(&mappings, address); }

void physical_add_handle(uint64_t handle, physical *self) {
    if (!self) return;
    lock_take(&guard);
    add_handle(handle, self);
    lock_release(&guard);
}

/* What was mapped there up to a moment. The first that is found is the highest in the tree, so this does not
 * go deep. */
static void unmap(uint64_t start, uint64_t stop, uint64_t moment) {
    entry *known = start < stop ? find(&mappings, start, stop) : NULL;
    if (!known) return;
    entry each = *known;
    if (each.number <= moment) {
        take_out(&mappings, known);
        drop(each.memory);
    }
    unmap(start, each.start, moment);
    unmap(each.end, stop, moment);
}

/* What was mapped there before is not any more, of which the other thread has yet to tell. */
void physical_mapped(uint64_t address, size_t size, physical *self) {
    if (!self) return;
    lock_take(&guard);
    unmap(address, address + size, entries);
    insert(&mappings, address, address + size, self);
    lock_release(&guard);
}

uint64_t physical_moment(void) {
    lock_take(&guard);
    uint64_t now = entries;
    lock_release(&guard);
    return now;
}

void physical_unmapped(uint64_t address, size_t size, uint64_t moment) {
    lock_take(&guard);
    unmap(address, address + size, moment);
    lock_release(&guard);
}

void physical_released(uint64_t handle, physical *self) {
    lock_take(&guard);
    entry *known = self ? find(&handles, handle, handle + 1) : NULL;
    bool has_it = known && known->memory == self;
    if (has_it) drop(self);
    if (has_it && --known->times == 0) take_out(&handles, known);
    lock_release(&guard);
    physical_let_go(self);
}

void physical_let_go(physical *self) {
    if (!self) return;
    lock_take(&guard);
    drop(self);
    if (looking) settle();
    lock_release(&guard);
}

/* An object that is not known came here in a way that cannot be followed. */
static void bind(uint64_t handle, int device, uint64_t offset, size_t size, physical *memory) {
    if (!memory || !memory->card) return;
    physical *object = of_handle(handle);
    if (!object) object = add(handle, (physical){.unfollowed = true});
    binding *made = object ? malloc(sizeof *made) : NULL;
    if (!made) return;
    *made = (binding){memory, device < 0 ? memory->device : device, offset, size, object->bindings};
    object->bindings = made;
    memory->references++;
}

void physical_bound(uint64_t object, int device, uint64_t offset, size_t size, uint64_t memory) {
    lock_take(&guard);
    bind(object, device, offset, size, of_handle(memory));
    lock_release(&guard);
}

void physical_bound_at(uint64_t object, int device, uint64_t offset, size_t size, uint64_t address) {
    lock_take(&guard);
    uint64_t end_address = address + size;
    for (const entry *each; address < end_address; address = each->end) {
        each = find(&mappings, address, address + 1);
        if (!each) break;
        bind(object, device, offset, size, each->memory);
    }
    lock_release(&guard);
}

binding *physical_unbind(uint64_t object, int device, uint64_t offset, size_t size) {
    binding *out = NULL;
    lock_take(&guard);
    physical *known = of_handle(object);
    for (binding **at = known ? &known->bindings : &out; *at;) {
        binding *each = *at;
        if (each->device != device || each->offset < offset || each->offset + each->size > offset + size) {
            at = &each->next;
            continue;
        }
        *at = each->next;
        each->next = out;
        out = each;
    }
    lock_release(&guard);
    return out;
}

void physical_unbound(binding *gone) {
    lock_take(&guard);
    drop_bound(gone);
    lock_release(&guard);
}

void physical_bind_again(uint64_t object, binding *kept) {
    lock_take(&guard);
    physical *known = of_handle(object);
    for (binding *next; known && kept; kept = next) {
        next = kept->next;
        kept->next = known->bindings;
        known->bindings = kept;
    }
    lock_release(&guard);
}

/* From now on others may hold it. */
static void leaves(physical *self) {
    self->next = left;
    left = self;
    if (!self->card) exported_hold(&self->mark);
}

void physical_exported(physical *self, int descriptor) {
    if (!self) return;
    lock_take(&guard);
    bool first = !self->mark.number;
    if (descriptor < 0 || !exported_mark(descriptor, !self->card, &self->mark))
        self->unfollowed = !self->card; /* memory that others hold is booked by the node's agent */
    else if (first)
        leaves(self);
    lock_release(&guard);
}

void physical_imported(uint64_t handle, int descriptor) {
    exported mark;
    bool multicast;
    lock_take(&guard);
    if (descriptor >= 0 && exported_read(descriptor, &multicast, &mark)) {
        physical *known = left;
        while (known && known->mark.number != mark.number) known = known->next;
        if (known) {
            if (known->references++ == 0 && multicast) exported_hold(&mark);
            add_handle(handle, known);
        } else if (multicast) {
            known = add(handle, (physical){.mark = mark});
            if (known) leaves(known);
        }
    }
    lock_release(&guard);
}

bool physical_settle(void) {
    lock_take(&guard);
    bool any = settle();
    lock_release(&guard);
    return any;
}

void physical_forked(void) {
    lock_reset(&guard);
    handles = mappings = NULL; /* CUDA does not work in the child; the trees are not worth walking */
    left = NULL;
    looking = false;
    exported_forked();
}
