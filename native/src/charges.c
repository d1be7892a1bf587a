/* Open addressing with linear probing, in shards of their own lock, so that threads seldom meet. */
#include "charges.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SHARDS = 16, FIRST_CAPACITY = 64 };

typedef struct {
    charge_kind kind; /* 0: empty */
    uint64_t key;
    charged what;
} entry;

typedef struct {
    pthread_mutex_t mutex;
    entry *entries;
    size_t capacity, count;
} shard;

static shard shards[SHARDS] = {[0 ... SHARDS - 1] = {.mutex = PTHREAD_MUTEX_INITIALIZER}};

static uint64_t hash(charge_kind kind, uint64_t key) {
    uint64_t mixed = (key ^ ((uint64_t)kind << 60)) * UINT64_C(0x9e3779b97f4a7c15);
    return mixed ^ (mixed >> 29);
}

static shard *shard_of(uint64_t mixed) { return &shards[mixed % SHARDS]; }

/* Where the entry is, or the empty place where it would be. */
static size_t place(const entry *entries, size_t capacity, charge_kind kind, uint64_t key) {
    size_t at = (hash(kind, key) / SHARDS) & (capacity - 1);
    while (entries[at].kind && !(entries[at].kind == kind && entries[at].key == key))
        at = (at + 1) & (capacity - 1);
    return at;
}

static bool grow(shard *self) {
    size_t capacity = self->capacity ? 2 * self->capacity : FIRST_CAPACITY;
    entry *entries = calloc(capacity, sizeof *entries);
    if (!entries) return false;
    for (size_t i = 0; i < self->capacity; i++)
        if (self->entries[i].kind)
            entries[place(entries, capacity, self->entries[i].kind, self->entries[i].key)] = self->entries[i];
    free(self->entries);
    self->entries = entries;
    self->capacity = capacity;
    return true;
}

int charges_put(charge_kind kind, uint64_t key, const charged *what) {
    shard *self = shard_of(hash(kind, key));
    charged now = *what, before = {0};
    int problem = 0;
    pthread_mutex_lock(&self->mutex);
    if (2 * (self->count + 1) > self->capacity && !grow(self)) {
        problem = -ENOMEM;
    } else {
        size_t at = place(self->entries, self->capacity, kind, key);
        if (!self->entries[at].kind)
            self->count++;
        else if (kind == CHARGE_CODE)
            charge_add(&now.taken, &self->entries[at].what.taken);
        else
            before = self->entries[at].what;
        self->entries[at] = (entry){kind, key, now};
    }
    pthread_mutex_unlock(&self->mutex);
    if (before.card) budget_refund(before.card, &before.taken);
    return problem;
}

/* Close the gap: move back every entry of the run that may not stand behind an empty place. */
static void remove_at(shard *self, size_t gap) {
    size_t mask = self->capacity - 1;
    for (size_t next = (gap + 1) & mask; self->entries[next].kind; next = (next + 1) & mask) {
        size_t home = (hash(self->entries[next].kind, self->entries[next].key) / SHARDS) & mask;
        if (((next - home) & mask) >= ((next - gap) & mask)) {
            self->entries[gap] = self->entries[next];
            gap = next;
        }
    }
    self->entries[gap].kind = 0;
    self->count--;
}

bool charges_take(charge_kind kind, uint64_t key, charged *what) {
    shard *self = shard_of(hash(kind, key));
    bool found = false;
    pthread_mutex_lock(&self->mutex);
    if (self->capacity) {
        size_t at = place(self->entries, self->capacity, kind, key);
        found = self->entries[at].kind != 0;
        if (found) {
            *what = self->entries[at].what;
            remove_at(self, at);
        }
    }
    pthread_mutex_unlock(&self->mutex);
    return found;
}

void charges_end(uint64_t owner, void (*give_back)(uint64_t key, const charged *what)) {
    for (shard *self = shards; owner && self < shards + SHARDS; self++) {
        pthread_mutex_lock(&self->mutex);
        for (size_t at = 0; at < self->capacity;) {
            entry each = self->entries[at];
            if (!each.kind || each.what.owner != owner) {
                at++;
                continue;
            }
            remove_at(self, at); /* which may put another one here */
            give_back(each.key, &each.what);
        }
        pthread_mutex_unlock(&self->mutex);
    }
}

void charges_hand_over(uint64_t from, uint64_t to) {
    for (shard *self = shards; from && self < shards + SHARDS; self++) {
        pthread_mutex_lock(&self->mutex);
        for (size_t at = 0; at < self->capacity; at++)
            if (self->entries[at].kind && self->entries[at].what.owner == from)
                self->entries[at].what.owner = to;
        pthread_mutex_unlock(&self->mutex);
    }
}

void charges_forked(void) {
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&shards[i].mutex, NULL);
        shards[i].entries = NULL; /* a thread of the parent's may have been about to free them */
        shards[i].capacity = shards[i].count = 0;
    }
}
