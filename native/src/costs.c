#include "costs.h"

#include <stdatomic.h>
#include <stddef.h>

/* Chosen on the tests' own card, but for the longest. */
enum {
    PLACES = 4096,         /* of 32 bytes: programs launch some hundred kinds of work, rarely thousands */
    PROBES = 8,            /* of 1000 kinds, two or three take each other's place where there are 4 */
    MEMORY = 16,           /* samples that count in the mean */
    LONGEST_MEMORY = 1024, /* the same, of the longest; 500 were too few (docs/adr/0008) */
    FIRST_SAMPLES = 3,     /* may be disturbed, as by code that is loaded: the least of them counts */
    DOUBTS = 16,           /* binary digits of how improbable chance must be: once in 65536 */
};

static cost costs[PLACES];

static uint64_t mix(uint64_t value) {
    value = (value ^ (value >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
    return value ^ (value >> 29);
}

static void take_over(cost *place, uint64_t key) {
    atomic_store_explicit(&place->samples, 0, memory_order_relaxed);
    atomic_store_explicit(&place->outliers, 0, memory_order_relaxed);
    atomic_store_explicit(&place->ns, 0, memory_order_relaxed);
    atomic_store_explicit(&place->longest, 0, memory_order_relaxed);
    atomic_store_explicit(&place->key, key, memory_order_relaxed);
}

/* Two threads that take one place at once mix up two costs, which the next measurements mend. */
cost *cost_of(const void *function, uint64_t shape) {
    uint64_t key = mix((uint64_t)(uintptr_t)function + mix(shape)) | 1; /* 0: free */
    for (size_t probe = 0; probe < PROBES; probe++) {
        cost *place = &costs[(key / 2 + probe) % PLACES];
        uint64_t found = atomic_load_explicit(&place->key, memory_order_relaxed);
        if (found == key) return place;
        if (found != 0) continue;
        take_over(place, key);
        return place;
    }
    cost *home = &costs[key / 2 % PLACES];
    take_over(home, key);
    return home;
}

void cost_learn(cost *self, uint64_t sample_ns) {
    uint64_t before = atomic_load_explicit(&self->ns, memory_order_relaxed);
    uint64_t longest = atomic_load_explicit(&self->longest, memory_order_relaxed);
    uint32_t samples = atomic_load_explicit(&self->samples, memory_order_relaxed);
    if (samples < COST_SETTLED) samples++;
    int64_t weight = samples < MEMORY ? samples : MEMORY;
    uint64_t after;
    if (samples <= FIRST_SAMPLES) {
        after = longest = samples == 1 || sample_ns < before ? sample_ns : before;
    } else {
        after = (uint64_t)((int64_t)before + ((int64_t)sample_ns - (int64_t)before) / weight);
        longest -= longest / LONGEST_MEMORY;
        if (longest < sample_ns) longest = sample_ns;
    }
    atomic_store_explicit(&self->ns, after ? after : 1, memory_order_relaxed);
    atomic_store_explicit(&self->longest, longest, memory_order_relaxed);
    atomic_store_explicit(&self->samples, samples, memory_order_relaxed);
    atomic_store_explicit(&self->outliers, 0, memory_order_relaxed);
}

void cost_doubt(cost *self, uint64_t sample_ns) {
    uint32_t samples = atomic_load_explicit(&self->samples, memory_order_relaxed);
    if (samples > COST_SETTLED - COST_DOUBTED)
        atomic_store_explicit(&self->samples, COST_SETTLED - COST_DOUBTED, memory_order_relaxed);
    uint64_t mean = atomic_load_explicit(&self->ns, memory_order_relaxed);
    uint64_t times = mean ? sample_ns / mean : 0; /* 0: other work took its place meanwhile */
    uint32_t digits = times < 4 ? 1 : 63 - (uint32_t)__builtin_clzll(times);
    if (atomic_fetch_add_explicit(&self->outliers, digits, memory_order_relaxed) + digits < DOUBTS) return;
    atomic_store_explicit(&self->samples, 0, memory_order_relaxed);
    cost_learn(self, sample_ns);
}
