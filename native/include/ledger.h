/*
 * The ledger of a share: what each process holds of the budget now. One file for a share, mapped by every
 * process that uses it. docs/interfaces.md names its path; src/hami_dra/model/ledger.py reads it.
 *
 * There is no stored total. Usage is the sum over the slots of live processes, so there is nothing to repair
 * when a process dies at any instruction: its slot counts until somebody who needs room finds its lock gone.
 * Liveness is an open-file-description lock on the slot's own bytes, which the kernel drops on any death; no
 * process ids are compared, so PID namespaces and PID reuse do not matter.
 *
 * A file of LEDGER_SIZE zero bytes is a valid, empty ledger.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define LEDGER_MAGIC      UINT64_C(0x48414d4900000001) /* "HAMI", version 1 */
#define LEDGER_SLOTS      1024
#define LEDGER_HEADER     4096
#define LEDGER_SLOT_BYTES 64
#define LEDGER_SIZE       (LEDGER_HEADER + LEDGER_SLOTS * LEDGER_SLOT_BYTES)

/* Both words of a slot that count bytes count whole units, which leaves low bits for flags. */
#define LEDGER_UNIT  512
#define LEDGER_MOVED 1 /* in `used`: what `pending` says is in here already */
#define LEDGER_TAKEN 1 /* in `pending`: granted, and about to be added to `used` */

/* Written by one process only, read by all; but a rival may set `pending` to 0 as long as it is not TAKEN. */
typedef struct {
    _Atomic uint64_t used;         /* bytes that this process holds, and a flag */
    _Atomic uint64_t pending;      /* bytes that it is asking for, and a flag */
    _Atomic uint32_t pid;          /* in its own PID namespace; another one here: the slot is lost */
    _Atomic uint32_t active_s;     /* CLOCK_MONOTONIC in seconds when it last computed; 0 never */
    _Atomic uint64_t refused;      /* allocations that did not fit */
    _Atomic uint64_t compute_ns;   /* device time that it used */
    _Atomic uint64_t throttled_ns; /* time that its threads were held back */
    uint64_t reserved[2];          /* limiters before this one write here */
} ledger_slot;

/*
 * What a process holds of the card beyond what the limiter saw it take, as the node's agent learns it from
 * the driver. An entry counts only while the slot is that process's: a dead one's is free with its slot. The
 * agent alone writes them, the pid first to 0 and last to what it is; who takes or clears a slot takes its
 * entries out.
 */
#define LEDGER_EXCESSES 64

typedef struct {
    _Atomic uint32_t slot;
    _Atomic uint32_t pid; /* as in the slot; 0: no entry */
    _Atomic uint64_t bytes;
} ledger_excess;

/*
 * How the node's agent, which sees all shares of a card, wants this one to compute. Worth nothing once `at`
 * is older than LEDGER_HINT_LIFE_NS: then a share goes by its own limits alone.
 */
#define LEDGER_HINT_LIFE_NS UINT64_C(500000000)
#define LEDGER_WHOLE_CARD   1000

/*
 * Who was on the card when, so that the agent can tell how tenants overlapped: a ring of the last bins of
 * time. A word is the bin's number (CLOCK_MONOTONIC >> LEDGER_BIN_SHIFT) << LEDGER_BIN_SHIFT | units of
 * measured time of all processes in it, LEDGER_BIN_UNITS for a process that was there all the time.
 */
#define LEDGER_BINS      256
#define LEDGER_BIN_SHIFT 20
#define LEDGER_BIN_UNITS 1024

/* The same of work whose cost was known from earlier launches, in longer bins: 16 ns of device time a unit.
 */
#define LEDGER_COUNTED_BINS  64
#define LEDGER_COUNTED_SHIFT 21
#define LEDGER_COUNTED_NS    16

typedef struct {
    _Atomic uint64_t at;   /* CLOCK_MONOTONIC when the agent wrote this */
    _Atomic uint32_t rate; /* thousandths of the card that the share may use now; 0: its own limit */
    _Atomic uint32_t part; /* thousandths of measured time that were the share's own; 0: all of it */
} ledger_hint;

typedef struct {
    _Atomic uint64_t magic;         /* 0 until the first process has come */
    _Atomic uint64_t context_bytes; /* what one context costs, learnt from the first; 0 unknown */
    _Atomic uint32_t high;          /* slots from here on were never taken, so nobody need look at them */
    _Atomic uint32_t paid_rate;     /* thousandths of the card that `paid_until` is reckoned with */
    _Atomic uint64_t paid_until;    /* CLOCK_MONOTONIC in ns at which the compute used so far is paid for */
    _Atomic uint64_t compute_ns;    /* device time of all processes that ever were; only grows */
    _Atomic uint64_t throttled_ns;  /* the same of the time that they were held back */
    _Atomic uint64_t activity;      /* another number whenever a process's compute counters have changed */
    uint64_t reserved_before;
    ledger_hint hint;              /* which the agent writes: on a cache line of its own */
    _Atomic uint32_t excess_count; /* entries of `excess` from here on are not looked at */
    uint8_t reserved[128 - 84];
    _Atomic uint64_t window_at;  /* CLOCK_MONOTONIC at which the window began in which use is reckoned now */
    _Atomic uint64_t window_ns;  /* compute_ns then */
    _Atomic uint32_t window_use; /* thousandths of the card that were used in the window before it */
    uint8_t reserved_between[512 - 128 - 20];
    _Atomic uint64_t counted[LEDGER_COUNTED_BINS];
    _Atomic uint64_t presence[LEDGER_BINS];
    ledger_excess excess[LEDGER_EXCESSES];
    ledger_slot slots[LEDGER_SLOTS];
} ledger_file;

_Static_assert(sizeof(ledger_slot) == LEDGER_SLOT_BYTES, "a slot is a cache line");
_Static_assert(offsetof(ledger_file, hint) == 64, "model/ledger.py reads it there");
_Static_assert(offsetof(ledger_file, counted) == 512, "model/ledger.py reads it there");
_Static_assert(offsetof(ledger_file, presence) == 1024, "model/ledger.py reads it there");
_Static_assert(offsetof(ledger_file, excess_count) == 80, "model/ledger.py reads it there");
_Static_assert(offsetof(ledger_file, excess) == 3072, "model/ledger.py reads it there");
_Static_assert(offsetof(ledger_file, slots) == LEDGER_HEADER, "slots begin behind the header");
_Static_assert(sizeof(ledger_file) == LEDGER_SIZE, "the size that the plugin makes the file with");
