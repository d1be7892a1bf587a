#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Open-file-description locks: Linux 3.15; older C libraries do not name them. */
#ifndef F_OFD_SETLK
#define F_OFD_SETLK 37
#endif

/* How long to give way to rivals whose requests together do not fit, before refusing. */
enum { PATIENCE = 40, SPIN = 8 };
static const struct timespec GIVE_WAY = {.tv_nsec = 250 * 1000};

void ledger_init(ledger *self, const char *path) {
    memset(self, 0, sizeof *self);
    snprintf(self->path, sizeof self->path, "%s", path);
    self->lock_fd = self->slot = -1;
    pthread_mutex_init(&self->mutex, NULL);
}

/* Whether the slot's bytes could be locked through FD, that is: no other process holds them. */
static bool lock_slot(int fd, int slot, short type) {
    struct flock range = {
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = LEDGER_HEADER + (off_t)slot * LEDGER_SLOT_BYTES,
        .l_len = LEDGER_SLOT_BYTES,
    };
    return fcntl(fd, F_OFD_SETLK, &range) == 0;
}

static void clear_slot(ledger_slot *slot) {
    atomic_store(&slot->pending, 0);
    atomic_store(&slot->used, 0);
    atomic_store(&slot->refused, 0);
    atomic_store(&slot->active_s, 0);
    atomic_store(&slot->compute_ns, 0);
    atomic_store(&slot->throttled_ns, 0);
    atomic_store(&slot->counted_ns, 0);
    atomic_store(&slot->measured_ns, 0);
}

static int map_file(ledger *self) {
    int fd = open(self->path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return -errno;
    struct stat status;
    int problem = 0;
    void *at = MAP_FAILED;
    if (fstat(fd, &status) != 0)
        problem = -errno;
    else if (status.st_size != LEDGER_SIZE)
        problem = -EPROTO;
    else if ((at = mmap(NULL, LEDGER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        problem = -errno;
    close(fd);
    if (problem) return problem;
    ledger_file *file = at;
    uint64_t none = 0;
    if (!atomic_compare_exchange_strong(&file->magic, &none, LEDGER_MAGIC) && none != LEDGER_MAGIC) {
        munmap(at, LEDGER_SIZE);
        return -EPROTO;
    }
    self->file = file;
    return 0;
}

/* The lock lives on a description of its own, never mapped: a mapping would keep it alive after close. */
static int slots_in_use(const ledger *self) {
    uint32_t high = atomic_load(&self->file->high);
    return high < LEDGER_SLOTS ? (int)high : LEDGER_SLOTS;
}

static void raise_high(ledger_file *file, uint32_t to) {
    uint32_t high = atomic_load(&file->high);
    while (high < to && !atomic_compare_exchange_weak(&file->high, &high, to)) {
    }
}

static int take_slot(ledger *self) {
    int fd = open(self->path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return -errno;
    for (int slot = 0; slot < LEDGER_SLOTS; slot++) {
        if (!lock_slot(fd, slot, F_WRLCK)) continue;
        clear_slot(&self->file->slots[slot]);
        raise_high(self->file, (uint32_t)slot + 1);
        atomic_store(&self->file->slots[slot].pid, (uint32_t)getpid());
        self->lock_fd = fd;
        self->slot = slot;
        return 0;
    }
    close(fd);
    return -EUSERS;
}

static int attach_locked(ledger *self) {
    if (!self->file) {
        int problem = map_file(self);
        if (problem) return problem;
    }
    return self->slot >= 0 ? 0 : take_slot(self);
}

int ledger_attach(ledger *self) {
    pthread_mutex_lock(&self->mutex);
    int problem = attach_locked(self);
    pthread_mutex_unlock(&self->mutex);
    return problem;
}

/* What a dead process held is free: clear every slot that nobody's lock protects. */
static void reap(ledger *self) {
    int count = slots_in_use(self);
    for (int slot = 0; slot < count; slot++) {
        ledger_slot *each = &self->file->slots[slot];
        if (slot == self->slot || (!atomic_load(&each->used) && !atomic_load(&each->pending))) continue;
        if (!lock_slot(self->lock_fd, slot, F_WRLCK)) continue;
        clear_slot(each);
        lock_slot(self->lock_fd, slot, F_UNLCK);
    }
}

/* Sum over all slots. Pending is read before used: a rival that is granted in between is counted twice
 * rather than not at all. */
static uint64_t sum(const ledger *self, uint64_t *rivals) {
    uint64_t used = 0, pending = 0;
    int count = slots_in_use(self);
    for (int slot = 0; slot < count; slot++) {
        ledger_slot *each = &self->file->slots[slot];
        uint64_t asked = atomic_load(&each->pending);
        if (slot != self->slot) pending += asked;
        used += atomic_load(&each->used);
    }
    *rivals = pending;
    return used;
}

/*
 * Ask in the open, then count. Two rivals cannot both overlook each other: each has published its request
 * before it counts. Where the requests fit only one by one, all step back and try again; where a request
 * does not fit beside what is granted, it is refused at once. No lock is held, so a process that is stopped
 * or killed in here stops nobody.
 */
static int reserve_locked(ledger *self, uint64_t size, uint64_t limit) {
    ledger_slot *mine = &self->file->slots[self->slot];
    bool reaped = false;
    for (int attempt = 0; attempt < PATIENCE; attempt++) {
        atomic_store(&mine->pending, size);
        uint64_t rivals, used = sum(self, &rivals);
        bool fits = size <= limit && used <= limit - size;
        if (fits && rivals <= limit - size - used) {
            atomic_fetch_add(&mine->used, size);
            atomic_store(&mine->pending, 0);
            return 0;
        }
        atomic_store(&mine->pending, 0);
        if (!reaped) {
            reap(self);
            reaped = true;
        } else if (!fits) {
            break;
        } else if (attempt < SPIN) {
            sched_yield();
        } else {
            /* Rivals leave at different times, the first slot soonest. */
            struct timespec wait = {.tv_nsec = GIVE_WAY.tv_nsec * (1 + self->slot % 8)};
            nanosleep(&wait, NULL);
        }
    }
    atomic_fetch_add(&mine->refused, 1);
    return -ENOMEM;
}

int ledger_reserve(ledger *self, uint64_t size, uint64_t limit) {
    pthread_mutex_lock(&self->mutex);
    int problem = attach_locked(self);
    if (!problem) problem = reserve_locked(self, size, limit);
    pthread_mutex_unlock(&self->mutex);
    return problem;
}

void ledger_refund(ledger *self, uint64_t size) {
    if (self->slot >= 0) atomic_fetch_sub(&self->file->slots[self->slot].used, size);
}

uint64_t ledger_usage(ledger *self) {
    if (ledger_attach(self) != 0) return 0;
    reap(self);
    uint64_t rivals;
    return sum(self, &rivals);
}

void ledger_forked(ledger *self) {
    /* The description is shared with the parent: closing our copy leaves the parent's lock in place. */
    if (self->lock_fd >= 0) close(self->lock_fd);
    self->lock_fd = self->slot = -1;
    pthread_mutex_init(&self->mutex, NULL);
}
