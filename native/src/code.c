/* Chains for handles, by their own value and by their image's, and a table without a lock for functions. */
#include "code.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CHAINS = 4096, PLACES = 2048, PROBES = 4 }; /* one that finds no place is not waited for */

static code *by_handle[CHAINS], *by_image[CHAINS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct {
    _Atomic(const void *) function;
    _Atomic uint64_t image;
} waiting[PLACES];
_Atomic int code_waiting;

static size_t mixed(uint64_t value) { return (value * UINT64_C(0x9e3779b97f4a7c15)) >> 40; }

/* The link that leads to the handle, or the end of the chain where it would be. */
static code **find(uint64_t handle) {
    code **link = &by_handle[mixed(handle) % CHAINS];
    while (*link && (*link)->handle != handle) link = &(*link)->beside;
    return link;
}

static void put(code *one) {
    code **handles = &by_handle[mixed(one->handle) % CHAINS],
         **images = &by_image[mixed(one->image) % CHAINS];
    one->beside = *handles, one->next = *images;
    *handles = *images = one;
}

/* All of an image, or only what is at HANDLE. */
static code *take(uint64_t image, const uint64_t *handle) {
    code *taken = NULL;
    for (code **link = &by_image[mixed(image) % CHAINS]; *link;) {
        code *one = *link;
        if (one->image != image || (handle && one->handle != *handle)) {
            link = &one->next;
            continue;
        }
        *link = one->next;
        *find(one->handle) = one->beside;
        one->next = taken;
        taken = one;
    }
    return taken;
}

void code_add(uint64_t handle, const code *of) {
    pthread_mutex_lock(&mutex);
    code *one = *find(handle);
    /* A handle of what ended with its context may be given out again. */
    if (one && one->image != of->image) {
        code_forget(take(one->image, &handle));
        one = NULL;
    }
    if (!one && (one = malloc(sizeof *one))) {
        *one = (code){.handle = handle, .image = of->image};
        put(one);
    }
    if (one) one->bytes = of->bytes, one->library = of->library;
    pthread_mutex_unlock(&mutex);
}

code code_of(uint64_t handle) {
    pthread_mutex_lock(&mutex);
    const code *found = *find(handle);
    code copy = found ? *found : (code){0};
    pthread_mutex_unlock(&mutex);
    return copy;
}

static size_t place(const void *function, size_t probe) {
    return (mixed((uint64_t)(uintptr_t)function) + probe) % PLACES;
}

/* Unless it is another by now: two threads may launch a function for the first time at once. */
static void stop_waiting(size_t at, const void *function) {
    if (atomic_compare_exchange_strong(&waiting[at].function, &function, NULL))
        atomic_fetch_sub(&code_waiting, 1);
}

code *code_hold(uint64_t image) {
    pthread_mutex_lock(&mutex);
    code *held = take(image, NULL);
    for (size_t at = 0; held && at < PLACES; at++) {
        const void *function = atomic_load(&waiting[at].function);
        if (function && waiting[at].image == image) stop_waiting(at, function);
    }
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
        if (*find(held->handle))
            free(held); /* another thread has found it again meanwhile */
        else
            put(held);
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
        stop_waiting(at, function);
        return image;
    }
    return 0;
}

void code_forked(void) {
    pthread_mutex_init(&mutex, NULL);
    memset(by_handle, 0, sizeof by_handle); /* CUDA does not work in the child: not worth walking */
    memset(by_image, 0, sizeof by_image);
    memset(waiting, 0, sizeof waiting);
    atomic_store(&code_waiting, 0);
}
