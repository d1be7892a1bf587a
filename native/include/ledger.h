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

/* Written by one process only, read by all. */
typedef struct {
    _Atomic uint64_t used;    /* bytes that this process holds */
    _Atomic uint64_t pending; /* bytes that it is asking for; not granted yet */
    _Atomic uint32_t pid;     /* in its own PID namespace; for people, never compared */
    uint32_t reserved_pid;
    _Atomic uint64_t refused;      /* allocations that did not fit */
    _Atomic uint64_t compute_ns;   /* device time; not used yet */
    _Atomic uint64_t throttled_ns; /* not used yet */
    uint64_t reserved[2];
} ledger_slot;

typedef struct {
    _Atomic uint64_t magic;         /* 0 until the first process has come */
    _Atomic uint64_t context_bytes; /* what one context costs, learnt from the first; 0 unknown */
    _Atomic uint32_t high;          /* slots from here on were never taken, so nobody need look at them */
    uint8_t reserved[LEDGER_HEADER - 20];
    ledger_slot slots[LEDGER_SLOTS];
} ledger_file;

_Static_assert(sizeof(ledger_slot) == LEDGER_SLOT_BYTES, "a slot is a cache line");
_Static_assert(offsetof(ledger_file, slots) == LEDGER_HEADER, "slots begin behind the header");
_Static_assert(sizeof(ledger_file) == LEDGER_SIZE, "the size that the plugin makes the file with");
