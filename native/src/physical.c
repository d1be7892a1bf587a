/* Two trees under one lock; mapping is far slower in the driver than here. */
#include "physical.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>

struct physical {
    const budget *card;
    charge taken;
    int references;
};

/* A handle, or a range of addresses: ranges that overlap compare equal. */
typedef struct {
    uint64_t start, end;
    physical *memory;
    int times; /* that the handle must be released */
} entry;

static void *handles, *mappings;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static int compare(const void *a, const void *b) {
    const entry *left = a, *right = b;
    return left->end <= right->start ? -1 : left->start >= right->end;
}

static entry *find(void *const *tree, uint64_t start, uint64_t end) {
    entry key = {.start = start, .end = end}, **node = tfind(&key, tree, compare);
    return node ? *node : NULL;
}

/* Without host memory for the entry the reference stays, and the charge with it: the safe side. */
static void insert(void **tree, uint64_t start, uint64_t end, physical *memory) {
    entry *added = malloc(sizeof *added);
    if (!added) return;
    *added = (entry){start, end, memory, 1};
    if (!tsearch(added, tree, compare)) free(added);
}

static void delete(void **tree, entry *gone) {
    tdelete(gone, tree, compare);
    free(gone);
}

static void drop(physical *self) {
    if (--self->references > 0) return;
    budget_refund(self->card, &self->taken);
    free(self);
}

static void add_handle(uint64_t handle, physical *memory) {
    entry *known = find(&handles, handle, handle + 1);
    if (known)
        known->times++;
    else
        insert(&handles, handle, handle + 1, memory);
}

void physical_created(uint64_t handle, const budget *card, const charge *taken) {
    physical *memory = malloc(sizeof *memory);
    if (!memory) return;
    *memory = (physical){card, *taken, 1};
    pthread_mutex_lock(&mutex);
    insert(&handles, handle, handle + 1, memory);
    pthread_mutex_unlock(&mutex);
}

void physical_retained(uint64_t handle, uint64_t address) {
    pthread_mutex_lock(&mutex);
    entry *mapping = find(&mappings, address, address + 1);
    if (mapping) {
        mapping->memory->references++;
        add_handle(handle, mapping->memory);
    }
    pthread_mutex_unlock(&mutex);
}

void physical_mapped(uint64_t address, size_t size, uint64_t handle) {
    pthread_mutex_lock(&mutex);
    entry *known = find(&handles, handle, handle + 1);
    if (known) {
        known->memory->references++;
        insert(&mappings, address, address + size, known->memory);
    }
    pthread_mutex_unlock(&mutex);
}

void physical_unmapped(uint64_t address, size_t size) {
    pthread_mutex_lock(&mutex);
    for (entry *each; (each = find(&mappings, address, address + size));) {
        physical *memory = each->memory;
        delete(&mappings, each);
        drop(memory);
    }
    pthread_mutex_unlock(&mutex);
}

physical *physical_hold(uint64_t handle) {
    pthread_mutex_lock(&mutex);
    entry *known = find(&handles, handle, handle + 1);
    physical *memory = known ? known->memory : NULL;
    if (known && --known->times == 0) delete(&handles, known);
    pthread_mutex_unlock(&mutex);
    return memory;
}

void physical_let_go(physical *self) {
    if (!self) return;
    pthread_mutex_lock(&mutex);
    drop(self);
    pthread_mutex_unlock(&mutex);
}

void physical_put_back(uint64_t handle, physical *self) {
    if (!self) return;
    pthread_mutex_lock(&mutex);
    add_handle(handle, self);
    pthread_mutex_unlock(&mutex);
}

void physical_forked(void) {
    pthread_mutex_init(&mutex, NULL);
    handles = mappings =
        NULL; /* CUDA does not work in the child; what the trees hold is not worth walking them */
}
