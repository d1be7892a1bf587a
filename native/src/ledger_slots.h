/* A ledger's file and the slots of its processes, for ledger.c. */
#pragma once

#include <stdatomic.h>

#include "ledger.h"

/* Map the file, and look from time to time that it is still what was mapped; 0 or -errno, without a slot.
 * Under the lock. */
int ledger_open(ledger *self);

/* The same, and take a slot. */
int ledger_attach_locked(ledger *self);

/* From now on every call fails so; returns PROBLEM. */
int ledger_give_up(ledger *self, int problem);

/* Whether the slot's bytes could be locked through FD, that is: no other process holds them. */
bool ledger_lock_slot(int fd, int slot, short type);

/* Under its lock: a successor may have the same pid, in another PID namespace or after a restart. */
void ledger_clear_slot(ledger_file *file, uint32_t number);

/* Not when the file was cut short, or written over, since it was mapped. */
static inline bool ledger_is_whole(const ledger *self) {
    return atomic_load(&self->file->magic) == LEDGER_MAGIC;
}

/* Not when the lock is gone, with a descriptor that somebody closed, and others have cleared or taken the
 * slot since. */
static inline bool ledger_is_ours(const ledger *self) {
    return atomic_load(&self->file->slots[self->slot].pid) == self->pid;
}

/* Slots, and entries of the agent's table, from there on are not looked at. */
static inline int ledger_slots_in_use(const ledger *self) {
    uint32_t high = atomic_load(&self->file->high);
    return high < LEDGER_SLOTS ? (int)high : LEDGER_SLOTS;
}
static inline uint32_t ledger_excesses(const ledger_file *file) {
    uint32_t count = atomic_load(&file->excess_count);
    return count < LEDGER_EXCESSES ? count : LEDGER_EXCESSES;
}
