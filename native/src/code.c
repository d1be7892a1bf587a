/* A list for handles, which are looked up seldom, and a table without a lock for functions. */
#include "code.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES = 2048, PROBES = 4 }; /* one that finds no place is not waited for */

static code *known;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct {
    _Atomic(const void *) function;
    uint64_t image;
} waiting[PLACES];
_Atomic int code_waiting;

static code *find(uint64_t handle) {
    code *each = known;
    while (each && each->handle != handle) each = each->next;
    return each;
}

void code_add(uint64_t handle, const code *of) {
    pthread_mutex_lock(&mutex);
    code *place = find(handle);
    if (!place && (place = malloc(sizeof *place))) {
        place->next = known;
        known = place;
    }
    /* A handle of what ended with its context may be given out again. */
    if (place) *place = (code){handle, of->image, of->bytes, of->library, place->next};
    pthread_mutex_unlock(&mutex);
}

code code_of(uint64_t handle) {
    pthread_mutex_lock(&mutex);
    const code *found = find(handle);
    code copy = found ? *found : (code){0};
    pthread_mutex_unlock(&mutex);
    return copy;
}

static size_t place(const void *function, size_t probe) {
    uint64_t mixed = (uint64_t)(uintptr_t)function * UINT64_C(0x9e3779b97f4a7c15);
    return ((mixed >> 40) + probe) % PLACES;
}

static void stop_waiting(size_t at) {
    const void *function = atomic_exchange(&waiting[at].function, NULL);
    if (function) atomic_fetch_sub(&code_waiting, 1);
}

code *code_hold(uint64_t image) {
    code *held = NULL;
    pthread_mutex_lock(&mutex);
    for (code **each = &known; *each;) {
        code *one = *each;
        if (one->image != image) {
            each = &one->next;
            continue;
        }
        *each = one->next;
        one->next = held;
        held = one;
    }
    for (size_t at = 0; held && at < PLACES; at++)
        if (atomic_load(&waiting[at].function) && waiting[at].image == image) stop_waiting(at);
    pthread_mutex_unlock(&mutex);
    return held;
}

void code_forget(code *held) {
    for (code *next; held; held = next) {
        next = held->next;
        free(held);
    }
}

void code_put_back(code *held) {
    pthread_mutex_lock(&mutex);
    for (code *next; held; held = next) {
        next = held->next;
        held->next = known;
        known = held;
    }
    pthread_mutex_unlock(&mutex);
}

void code_found(const void *function, uint64_t image) {
    pthread_mutex_lock(&mutex);
    bool known_already = false;
    for (size_t probe = 0; probe < PROBES; probe++)
        known_already |= atomic_load(&waiting[place(function, probe)].function) == function;
    for (size_t probe = 0; probe < PROBES && !known_already; probe++) {
        size_t at = place(function, probe);
        if (atomic_load(&waiting[at].function)) continue;
        waiting[at].image = image;
        atomic_store(&waiting[at].function, function);
        atomic_fetch_add(&code_waiting, 1);
        break;
    }
    pthread_mutex_unlock(&mutex);
}

uint64_t code_first_use(const void *function) {
    for (size_t probe = 0; function && probe < PROBES; probe++) {
        size_t at = place(function, probe);
        if (atomic_load_explicit(&waiting[at].function, memory_order_acquire) != function) continue;
        uint64_t image = waiting[at].image;
        stop_waiting(at);
        return image;
    }
    return 0;
}

void code_forked(void) {
    pthread_mutex_init(&mutex, NULL);
    known = NULL; /* CUDA does not work in the child; the list is not worth walking */
    memset(waiting, 0, sizeof waiting);
    atomic_store(&code_waiting, 0);
}
