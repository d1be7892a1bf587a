#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "failpoint.h"
#include "ledger_slots.h"

/* How to give way to rivals whose requests together do not fit: yield, then sleep, then overrule, then
 * refuse. */
enum { YIELDS = 8, SLEEPS = 8, OVERRULES = 8 };
static const struct timespec GIVE_WAY = {.tv_nsec = 200 * 1000};

static uint64_t bytes(uint64_t word) { return word / LEDGER_UNIT * LEDGER_UNIT; }

/* Bytes that the node's agent booked for the process in a slot. The pid is read again after them, since the
 * agent may be about to write others. */
static uint64_t excess_of(const ledger_file *file, uint32_t slot) {
    uint64_t total = 0;
    if (WRONG(FREE_EXCESS)) return 0;
    uint32_t count = ledger_excesses(file), pid = count ? atomic_load(&file->slots[slot].pid) : 0;
    for (uint32_t i = 0; pid && i < count; i++) {
        const ledger_excess *each = &file->excess[i];
        if (atomic_load(&each->slot) != slot || atomic_load(&each->pid) != pid) continue;
        uint64_t held = bytes(atomic_load(&each->bytes));
        if (atomic_load(&each->pid) == pid) total = plus(total, held);
    }
    return total;
}

/* What a dead process held is free: clear every slot that nobody's lock protects. Under the mutex, since the
 * locks of one description do not exclude each other. */
static void reap(ledger *self) {
    int count = WRONG(KEEP_DEAD) ? 0 : ledger_slots_in_use(self);
    for (int slot = 0; slot < count; slot++) {
        ledger_slot *each = &self->file->slots[slot];
        bool holds =
            atomic_load(&each->used) || atomic_load(&each->pending) || excess_of(self->file, (uint32_t)slot);
        if (slot == self->slot || !holds) continue;
        if (!ledger_lock_slot(self->lock_fd, slot, F_WRLCK)) continue;
        FAILPOINT("reap.locked");
        ledger_clear_slot(self->file, (uint32_t)slot);
        FAILPOINT("reap.cleared");
        ledger_lock_slot(self->lock_fd, slot, F_UNLCK);
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
    int slots = ledger_slots_in_use(self);
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
    int slots = ledger_slots_in_use(self);
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
    lock_take(&self->lock);
    int problem = ledger_attach_locked(self);
    if (!problem) problem = reserve_locked(self, in_units(size), limit);
    if (!problem && !ledger_is_whole(self))
        problem = ledger_give_up(self, -ESTALE); /* what was counted is worth nothing */
    lock_release(&self->lock);
    return problem;
}

void ledger_refund(ledger *self, uint64_t size) {
    if (self->slot < 0 || self->broken || !ledger_is_ours(self)) return;
    FAILPOINT("refund");
    atomic_fetch_sub(&self->file->slots[self->slot].used, in_units(size));
    FAILPOINT("refunded");
}

uint64_t ledger_usage(ledger *self) {
    uint64_t used = 0;
    lock_take(&self->lock);
    if (ledger_open(self) == 0) {
        reap(self);
        used = count_all(self).granted;
    }
    lock_release(&self->lock);
    return used;
}

const ledger_file *ledger_look(ledger *self) {
    lock_take(&self->lock);
    const ledger_file *found = ledger_open(self) == 0 ? self->file : NULL;
    lock_release(&self->lock);
    return found;
}

int ledger_holders(ledger *self, ledger_holder *holders, int most) {
    int found = 0;
    lock_take(&self->lock);
    if (ledger_open(self) == 0) {
        reap(self);
        int slots = ledger_slots_in_use(self);
        for (int slot = 0; slot < slots; slot++) {
            uint64_t held = count_process(self, slot).granted;
            if (held && found < most)
                holders[found] = (ledger_holder){atomic_load(&self->file->slots[slot].pid), held};
            found += held > 0;
        }
    }
    lock_release(&self->lock);
    return found;
}
