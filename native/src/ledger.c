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

#include "failpoint.h"
#include "ledger_guard.h"

/* Open-file-description locks: Linux 3.15; older C libraries do not name them. */
#ifndef F_OFD_SETLK
#define F_OFD_SETLK 37
#endif

/* How to give way to rivals whose requests together do not fit: yield, then sleep, then overrule, then
 * refuse. */
enum { YIELDS = 8, SLEEPS = 8, OVERRULES = 8 };
static const struct timespec GIVE_WAY = {.tv_nsec = 200 * 1000};

/* How long a file is trusted to be as it was. */
static const uint64_t TRUST_NS = 50 * 1000 * 1000;

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

static uint64_t bytes(uint64_t word) { return word / LEDGER_UNIT * LEDGER_UNIT; }

static uint32_t excesses(const ledger_file *file) {
    uint32_t count = atomic_load(&file->excess_count);
    return count < LEDGER_EXCESSES ? count : LEDGER_EXCESSES;
}

/* Bytes that the node's agent booked for the process in a slot. The pid is read again after them, since the
 * agent may be about to write others. */
static uint64_t excess_of(const ledger_file *file, uint32_t slot) {
    uint64_t total = 0;
    if (WRONG(FREE_EXCESS)) return 0;
    uint32_t count = excesses(file), pid = count ? atomic_load(&file->slots[slot].pid) : 0;
    for (uint32_t i = 0; pid && i < count; i++) {
        const ledger_excess *each = &file->excess[i];
        if (atomic_load(&each->slot) != slot || atomic_load(&each->pid) != pid) continue;
        uint64_t held = bytes(atomic_load(&each->bytes));
        if (atomic_load(&each->pid) == pid) total = plus(total, held);
    }
    return total;
}

/* Under its lock. A successor may have the same pid, in another PID namespace or after a restart. */
static void clear_slot(ledger_file *file, uint32_t number) {
    ledger_slot *slot = &file->slots[number];
    for (uint32_t i = 0, count = excesses(file); i < count; i++)
        if (atomic_load(&file->excess[i].slot) == number) atomic_store(&file->excess[i].pid, 0);
    atomic_store(&slot->pid, 0);
    atomic_store(&slot->pending, 0);
    atomic_store(&slot->used, 0);
    atomic_store(&slot->refused, 0);
    atomic_store(&slot->active_s, 0);
    atomic_store(&slot->compute_ns, 0);
    atomic_store(&slot->throttled_ns, 0);
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
    else if (!S_ISREG(status.st_mode) || status.st_size != LEDGER_SIZE)
        problem = -EPROTO;
    else if ((at = mmap(NULL, LEDGER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        problem = errno == ENOMEM ? -ENOBUFS : -errno; /* -ENOMEM is a share that is full */
    close(fd);
    if (problem) return problem;
    ledger_guard(at, LEDGER_SIZE);
    ledger_file *file = at;
    uint64_t none = 0;
    if (!atomic_compare_exchange_strong(&file->magic, &none, LEDGER_MAGIC) && none != LEDGER_MAGIC) {
        ledger_unguard(at);
        munmap(at, LEDGER_SIZE);
        return -EPROTO;
    }
    self->device = status.st_dev;
    self->inode = status.st_ino;
    self->file = file;
    return 0;
}

/* Whether the descriptor is still the file that was mapped, and that as long as it was: a program may close
 * descriptors that it never opened. */
static int look_at_file(const ledger *self) {
    struct stat status;
    if (fstat(self->lock_fd, &status) != 0 || status.st_dev != self->device || status.st_ino != self->inode)
        return -ESTALE;
    return status.st_size == LEDGER_SIZE ? 0 : -ESTALE;
}

/* Not when the file was cut short, or written over, since it was mapped. */
static bool is_ledger(const ledger *self) { return atomic_load(&self->file->magic) == LEDGER_MAGIC; }

static uint64_t coarse_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int give_up(ledger *self, int problem) {
    self->broken = problem;
    return problem;
}

/* The lock lives on a description of its own, never mapped: a mapping would keep it alive after close. */
static int open_for_locks(ledger *self) {
    if (self->broken) return self->broken;
    if (!self->file) {
        int problem = map_file(self);
        if (problem) return problem;
    }
    if (self->lock_fd < 0) {
        self->lock_fd = open(self->path, O_RDWR | O_CLOEXEC);
        if (self->lock_fd < 0) return -errno;
        self->checked = 0; /* look at it at once */
    }
    if (!is_ledger(self)) return give_up(self, -ESTALE);
    uint64_t now = coarse_ns();
    if (now - self->checked < TRUST_NS) return 0;
    self->checked = now;
    int problem = look_at_file(self);
    return problem ? give_up(self, problem) : 0;
}

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
    for (int slot = 0; slot < LEDGER_SLOTS; slot++) {
        if (!lock_slot(self->lock_fd, slot, F_WRLCK)) continue;
        FAILPOINT("attach.locked");
        clear_slot(self->file, (uint32_t)slot);
        FAILPOINT("attach.cleared");
        raise_high(self->file, (uint32_t)slot + 1);
        self->pid = (uint32_t)getpid();
        atomic_store(&self->file->slots[slot].pid, self->pid);
        self->slot = slot;
        FAILPOINT("attach.done");
        return 0;
    }
    return -EUSERS;
}

/* Not when the lock is gone, with a descriptor that somebody closed, and others have cleared or taken the
 * slot since. */
static bool is_ours(const ledger *self) {
    return atomic_load(&self->file->slots[self->slot].pid) == self->pid;
}

static int attach_locked(ledger *self) {
    int problem = open_for_locks(self);
    if (problem) return problem;
    if (self->slot < 0) return take_slot(self);
    return is_ours(self) ? 0 : give_up(self, -ESTALE);
}

int ledger_attach(ledger *self) {
    pthread_mutex_lock(&self->mutex);
    int problem = attach_locked(self);
    pthread_mutex_unlock(&self->mutex);
    return problem;
}

/* What a dead process held is free: clear every slot that nobody's lock protects. Under the mutex, since the
 * locks of one description do not exclude each other. */
static void reap(ledger *self) {
    int count = WRONG(KEEP_DEAD) ? 0 : slots_in_use(self);
    for (int slot = 0; slot < count; slot++) {
        ledger_slot *each = &self->file->slots[slot];
        bool holds =
            atomic_load(&each->used) || atomic_load(&each->pending) || excess_of(self->file, (uint32_t)slot);
        if (slot == self->slot || !holds) continue;
        if (!lock_slot(self->lock_fd, slot, F_WRLCK)) continue;
        FAILPOINT("reap.locked");
        clear_slot(self->file, (uint32_t)slot);
        FAILPOINT("reap.cleared");
        lock_slot(self->lock_fd, slot, F_UNLCK);
    }
}

typedef struct {
    uint64_t granted, asked;
} count;

/* One slot. Pending is read before used, and then again: what moves from one to the other in between would be
 * missed in the other order, and counted twice without the second look. */
static count count_slot(ledger_slot *slot) {
    for (;;) {
        uint64_t early = WRONG(USED_BEFORE_PENDING) ? atomic_load(&slot->used) : 0;
        if (WRONG(USED_BEFORE_PENDING)) FAILPOINT("count.between");
        uint64_t pending = atomic_load(&slot->pending);
        if (!WRONG(USED_BEFORE_PENDING)) FAILPOINT("count.between");
        uint64_t used = WRONG(USED_BEFORE_PENDING) ? early : atomic_load(&slot->used);
        if (pending && !WRONG(USED_BEFORE_PENDING) && atomic_load(&slot->pending) != pending) continue;
        if (used & LEDGER_MOVED) return (count){bytes(used), 0};
        if (pending & LEDGER_TAKEN) return (count){plus(bytes(used), bytes(pending)), 0};
        return (count){bytes(used), pending};
    }
}

/* A slot with its process's excess. */
static count count_process(const ledger *self, int slot) {
    count found = count_slot(&self->file->slots[slot]);
    found.granted = plus(found.granted, excess_of(self->file, (uint32_t)slot));
    return found;
}

/* All processes; what this one itself is asking for is left out. */
static count count_all(const ledger *self) {
    count total = {0, 0};
    int slots = slots_in_use(self);
    for (int slot = 0; slot < slots; slot++) {
        count each = count_process(self, slot);
        total.granted = plus(total.granted, each.granted);
        if (slot != self->slot) total.asked = plus(total.asked, each.asked);
    }
    return total;
}

/* Take back the requests of all rivals. One that is alive asks again and then sees ours; one that was stopped
 * in the middle of asking stands in nobody's way. */
static void overrule(const ledger *self) {
    int slots = slots_in_use(self);
    for (int slot = 0; slot < slots; slot++) {
        _Atomic uint64_t *pending = &self->file->slots[slot].pending;
        uint64_t asked = atomic_load(pending);
        if (slot != self->slot && asked && !(asked & LEDGER_TAKEN))
            atomic_compare_exchange_strong(pending, &asked, 0);
    }
}

static void give_way(const ledger *self, int attempt) {
    if (attempt < YIELDS) {
        sched_yield();
    } else if (attempt < YIELDS + SLEEPS) {
        /* Rivals come back at different times. */
        struct timespec wait = {.tv_nsec = GIVE_WAY.tv_nsec * (1 + (self->slot + attempt) % 4)};
        nanosleep(&wait, NULL);
    }
}

/* A request that was counted and fits becomes used. False when somebody has taken it back meanwhile. */
static bool grant(ledger_slot *mine, uint64_t size) {
    uint64_t asked = size;
    if (!WRONG(CHECK_THEN_TAKE) &&
        !atomic_compare_exchange_strong(&mine->pending, &asked, size | LEDGER_TAKEN))
        return false;
    FAILPOINT("reserve.taken");
    atomic_fetch_add(&mine->used, size + LEDGER_MOVED);
    FAILPOINT("reserve.moved");
    atomic_store(&mine->pending, 0);
    FAILPOINT("reserve.cleared");
    atomic_fetch_sub(&mine->used, LEDGER_MOVED);
    return true;
}

/*
 * Ask in the open, then count. Of two rivals the one that asked later sees the other, so together they never
 * pass the limit (docs/adr/0005). Where the requests fit only one by one, all step back and try again; where
 * a request does not fit beside what is granted, it is refused at once. No lock is held, so a process that is
 * stopped or killed in here stops nobody.
 */
static int reserve_locked(ledger *self, uint64_t size, uint64_t limit) {
    ledger_slot *mine = &self->file->slots[self->slot];
    bool reaped = false;
    for (int attempt = 0; size <= limit && attempt < YIELDS + SLEEPS + OVERRULES; attempt++) {
        if (!WRONG(CHECK_THEN_TAKE)) atomic_store(&mine->pending, size);
        FAILPOINT("reserve.asked");
        if (attempt >= YIELDS + SLEEPS) overrule(self);
        count all = count_all(self);
        FAILPOINT("reserve.counted");
        bool fits = all.granted <= limit - size;
        if (fits && all.asked <= limit - size - all.granted && grant(mine, size)) return 0;
        atomic_store(&mine->pending, 0);
        if (!reaped)
            reap(self);
        else if (!fits)
            break;
        else
            give_way(self, attempt);
        reaped = true;
    }
    atomic_fetch_add(&mine->refused, 1);
    return -ENOMEM;
}

static uint64_t in_units(uint64_t size) {
    return size > UINT64_MAX - LEDGER_UNIT ? bytes(size) : bytes(size + LEDGER_UNIT - 1);
}

int ledger_reserve(ledger *self, uint64_t size, uint64_t limit) {
    pthread_mutex_lock(&self->mutex);
    int problem = attach_locked(self);
    if (!problem) problem = reserve_locked(self, in_units(size), limit);
    if (!problem && !is_ledger(self))
        problem = give_up(self, -ESTALE); /* what was counted is worth nothing */
    pthread_mutex_unlock(&self->mutex);
    return problem;
}

void ledger_refund(ledger *self, uint64_t size) {
    if (self->slot < 0 || self->broken || !is_ours(self)) return;
    FAILPOINT("refund");
    atomic_fetch_sub(&self->file->slots[self->slot].used, in_units(size));
    FAILPOINT("refunded");
}

uint64_t ledger_usage(ledger *self) {
    uint64_t used = 0;
    pthread_mutex_lock(&self->mutex);
    if (open_for_locks(self) == 0) {
        reap(self);
        used = count_all(self).granted;
    }
    pthread_mutex_unlock(&self->mutex);
    return used;
}

int ledger_holders(ledger *self, ledger_holder *holders, int most) {
    int found = 0;
    pthread_mutex_lock(&self->mutex);
    if (open_for_locks(self) == 0) {
        reap(self);
        int slots = slots_in_use(self);
        for (int slot = 0; slot < slots; slot++) {
            uint64_t held = count_process(self, slot).granted;
            if (held && found < most)
                holders[found] = (ledger_holder){atomic_load(&self->file->slots[slot].pid), held};
            found += held > 0;
        }
    }
    pthread_mutex_unlock(&self->mutex);
    return found;
}

/*
 * The child's copy of the descriptor stays open until it ends or becomes another program, as its copies of
 * the driver's descriptors do: as long as these live the driver keeps the parent's memory, even when the
 * parent dies. Closing it would not drop the parent's lock either way.
 * The parent may have been in the middle of anything, so the child maps the file for itself.
 */
void ledger_forked(ledger *self) {
    self->file = NULL;
    self->lock_fd = self->slot = -1;
    self->broken = 0;
    pthread_mutex_init(&self->mutex, NULL);
}
