/* By what physical memory is referred to: two trees under one lock, since mapping and binding are far slower
 * in the driver than here. */
#include "physical.h"

#include <search.h>
#include <stdlib.h>

#include "physical_life.h"

/* A handle, or a range of addresses: ranges that overlap compare equal. */
typedef struct {
    uint64_t start, end;
    physical *memory;
    uint64_t number; /* of all entries */
    int times;       /* that the handle must be released */
} entry;

static void *handles, *mappings;
static uint64_t entries; /* that there ever were */

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
        while (before.times-- > 0) physical_drop(before.memory);
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
    physical_lock();
    add(handle, (physical){.device = device, .card = card, .taken = *taken});
    physical_unlock();
}

void physical_holder(uint64_t handle) {
    physical_lock();
    add(handle, (physical){.card = NULL});
    physical_unlock();
}

static physical *use(void *const *tree, uint64_t at) {
    physical_lock();
    entry *known = find(tree, at, at + 1);
    physical *memory = known ? known->memory : NULL;
    if (memory) memory->references++;
    physical_unlock();
    return memory;
}

physical *physical_use(uint64_t handle) { return use(&handles, handle); }
physical *physical_use_at(uint64_t address) { return use(&mappings, address); }

void physical_add_handle(uint64_t handle, physical *self) {
    if (!self) return;
    physical_lock();
    add_handle(handle, self);
    physical_unlock();
}

/* What was mapped there up to a moment. The first that is found is the highest in the tree, so this does not
 * go deep. */
static void unmap(uint64_t start, uint64_t stop, uint64_t moment) {
    entry *known = start < stop ? find(&mappings, start, stop) : NULL;
    if (!known) return;
    entry each = *known;
    if (each.number <= moment) {
        take_out(&mappings, known);
        physical_drop(each.memory);
    }
    unmap(start, each.start, moment);
    unmap(each.end, stop, moment);
}

/* What was mapped there before is not any more, of which the other thread has yet to tell. */
void physical_mapped(uint64_t address, size_t size, physical *self) {
    if (!self) return;
    physical_lock();
    unmap(address, address + size, entries);
    insert(&mappings, address, address + size, self);
    physical_unlock();
}

uint64_t physical_moment(void) {
    physical_lock();
    uint64_t now = entries;
    physical_unlock();
    return now;
}

void physical_unmapped(uint64_t address, size_t size, uint64_t moment) {
    physical_lock();
    unmap(address, address + size, moment);
    physical_unlock();
}

void physical_released(uint64_t handle, physical *self) {
    physical_lock();
    entry *known = self ? find(&handles, handle, handle + 1) : NULL;
    bool has_it = known && known->memory == self;
    if (has_it) physical_drop(self);
    if (has_it && --known->times == 0) take_out(&handles, known);
    physical_unlock();
    physical_let_go(self);
}

void physical_let_go(physical *self) {
    if (!self) return;
    physical_lock();
    physical_drop(self);
    physical_look();
    physical_unlock();
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
    physical_lock();
    bind(object, device, offset, size, of_handle(memory));
    physical_unlock();
}

void physical_bound_at(uint64_t object, int device, uint64_t offset, size_t size, uint64_t address) {
    physical_lock();
    uint64_t end_address = address + size;
    for (const entry *each; address < end_address; address = each->end) {
        each = find(&mappings, address, address + 1);
        if (!each) break;
        bind(object, device, offset, size, each->memory);
    }
    physical_unlock();
}

binding *physical_unbind(uint64_t object, int device, uint64_t offset, size_t size) {
    binding *out = NULL;
    physical_lock();
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
    physical_unlock();
    return out;
}

void physical_unbound(binding *gone) {
    physical_lock();
    physical_drop_bound(gone);
    physical_unlock();
}

void physical_bind_again(uint64_t object, binding *kept) {
    physical_lock();
    physical *known = of_handle(object);
    for (binding *next; known && kept; kept = next) {
        next = kept->next;
        kept->next = known->bindings;
        known->bindings = kept;
    }
    physical_unlock();
}

void physical_exported(physical *self, int descriptor) {
    if (!self) return;
    physical_lock();
    bool first = !self->mark.number;
    if (descriptor < 0 || !exported_mark(descriptor, !self->card, &self->mark))
        self->unfollowed = !self->card; /* memory that others hold is booked by the node's agent */
    else if (first)
        physical_leaves(self);
    physical_unlock();
}

void physical_imported(uint64_t handle, int descriptor) {
    exported mark;
    bool multicast;
    physical_lock();
    if (descriptor >= 0 && exported_read(descriptor, &multicast, &mark)) {
        physical *known = physical_that_left(mark.number);
        if (known) {
            if (known->references++ == 0 && multicast) exported_hold(&mark);
            add_handle(handle, known);
        } else if (multicast) {
            known = add(handle, (physical){.mark = mark});
            if (known) physical_leaves(known);
        }
    }
    physical_unlock();
}

void physical_forked(void) {
    handles = mappings = NULL; /* CUDA does not work in the child; the trees are not worth walking */
    physical_lives_forked();
}
