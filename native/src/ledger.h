/* Opening a share's ledger and reserving in it. Policy only: no CUDA, no limits file. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "../include/ledger.h"
#include "lock.h"
#include "numbers.h"

typedef struct {
    char path[256];
    ledger_file *file; /* NULL until mapped */
    dev_t device;      /* the file that was mapped: what the descriptor below must still be */
    ino_t inode;
    int lock_fd;        /* holds the lock of our slot; -1 before and in the child of a fork */
    _Atomic int slot;   /* -1 before; written last: with it, the file can be used without the lock */
    uint32_t pid;       /* that we wrote into it: it is ours as long as that stands there */
    _Atomic int broken; /* 0, or for good the -errno of a file that has changed under us */
    uint64_t checked;   /* coarse nanoseconds when the file was last looked at */
    lock lock;
} ledger;

/* Prepare a ledger without touching the file. */
void ledger_init(ledger *self, const char *path);

/* Map the file and take a slot, once; 0, or -errno: the file is missing, read-only, short or foreign
 * (-EPROTO), full (-EUSERS), or has changed under us (-ESTALE). */
int ledger_attach(ledger *self);

/* Whether its file can be used; for every launch that is measured, so without the lock once a slot is taken.
 */
static inline bool ledger_is_attached(ledger *self) { return self->slot >= 0 || ledger_attach(self) == 0; }

/* Take SIZE bytes within LIMIT; 0, -ENOMEM when they do not fit, or another -errno from attaching. */
int ledger_reserve(ledger *self, uint64_t size, uint64_t limit);

/* Give back what was reserved. */
void ledger_refund(ledger *self, uint64_t size);

/* Bytes that live processes hold together, by their own word and the agent's; 0 when the ledger cannot be
 * mapped. Takes no slot. */
uint64_t ledger_usage(ledger *self);

/* The file, mapped without taking a slot; NULL when it cannot be used. */
const ledger_file *ledger_look(ledger *self);

/* The live processes that hold memory, by their number in their own PID namespace; how many there are, of
 * which at most MOST are told. */
typedef struct {
    uint32_t pid;
    uint64_t bytes;
} ledger_holder;
int ledger_holders(ledger *self, ledger_holder *holders, int most);

/* In the child of a fork: the slot is the parent's; the child takes its own when it needs one. */
void ledger_forked(ledger *self);
