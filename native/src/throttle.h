/*
 * The pace of computing: how long work must wait, and what it is charged. Policy only: no CUDA, no clock of
 * its own. Times are ns of CLOCK_MONOTONIC or of the device, rates are thousandths of the card.
 *
 * A share's account is one word in its ledger, `paid_until`: the moment at which all work so far is paid for
 * at the share's rate. Work of `c` ns moves it on by c / rate. Whoever finds it in the future waits; it may
 * be overdrawn by a little, so that work is submitted in bursts and never runs dry, and every overdraft is
 * waited for, so that the long-run mean is the rate exactly. One word cannot be torn, and a process that dies
 * anywhere leaves it right.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../include/ledger.h"

enum {
    BURST_NS = 50000000,       /* of idle time that a share may make up for */
    OVERDRAFT_NS = 2000000,    /* of device time that may be submitted before it is paid for */
    AHEAD_NS = 2000000,        /* of device time that may wait in the driver's queues */
    LONG_NS = 250000,          /* work from here on is measured each time, shorter work now and then */
    SAMPLE_NS = 750000,        /* of short work between two measurements: events cost the host microseconds */
    EVENTS_NS = 1000,          /* what two events around work add to it (H100: 1.05 us, whatever the work) */
    SLICE_WORK_NS = 1500000,   /* shorter work mostly fits in one slice of a card, of 2 ms */
    TURN_NS = 2240000,         /* of another process: a slice, and the switch to it */
    USE_WINDOW_NS = 500000000, /* in which use of the card is reckoned */
};

/* The rate that a share may compute at: its own `cores` (percent, 0: none reserved), lowered by the agent's
 * hint, or raised by it where the share may use what is idle. */
unsigned throttle_rate(const ledger_hint *hint, unsigned cores, bool soft, uint64_t now);

/* The share's own part of measured time, in thousandths. */
unsigned throttle_part(const ledger_hint *hint, uint64_t now);

/* Reckon the account with another rate from now on; what is unpaid then takes as much longer or shorter. */
void throttle_set_rate(ledger_file *book, unsigned rate, uint64_t now);

/* Charge device time at RATE, or give back a part of what was charged (negative). */
void throttle_charge(ledger_file *book, int64_t device_ns, unsigned rate, uint64_t now);

/* How long work must wait; 0: not at all. HELD is kept by the caller: once held, work waits for the whole
 * debt. */
uint64_t throttle_wait(const ledger_file *book, unsigned rate, uint64_t now, bool held);

/* What one measurement says. */
typedef struct {
    uint64_t own_ns; /* device time to be charged for the work */
    unsigned part;   /* of the measured time that is thought to be its own, in thousandths */
    bool learn;      /* whether it tells what such work costs */
    bool doubt;      /* whether other processes' slices fell into it, so that it does not */
    bool shared;     /* whether they are in it in proportion, as into any long work */
} throttle_verdict;

/*
 * Judge MEASURED ns between the events around one piece of work that is known to cost KNOWN ns (0: unknown),
 * and lately LONGEST at most. IDLE_NS of it the device waited for the host. PART: see throttle_part. Other
 * processes' slices lie between the events too: of work that is longer than a slice a part, of shorter work
 * all or nothing, so that an outlier says nothing about it, unless it is BELIEVED (turns.h).
 */
throttle_verdict throttle_judge(uint64_t measured, uint64_t idle_ns, uint64_t known, uint64_t longest,
                                unsigned part, bool believed);

/* Whether a measurement of work that mostly fits in a slice may have another process's turn in it. */
bool throttle_may_be_turn(uint64_t measured, uint64_t known, unsigned part);

/* Whether work that is known to cost KNOWN ns will be judged as shared, even before it has ended. */
bool throttle_is_shared(uint64_t known);

/*
 * Of work on several streams, which overlaps: what [start, end] adds to the time covered so far. EARLIEST is
 * the start of the earliest work that is still running, UINT64_MAX when none is.
 */
uint64_t throttle_cover(uint64_t *covered, uint64_t start, uint64_t end, uint64_t earliest);

/* Reckon now and then how much of the card was used lately; and that, in thousandths. */
void throttle_note_use(ledger_file *book, uint64_t now);
unsigned throttle_recent_use(const ledger_file *book, uint64_t now);

/* Note in the ledger that work of known cost was done, as much as DEVICE_NS. */
void throttle_counted(ledger_file *book, uint64_t device_ns, uint64_t now);

/* Note in the ledger that a process of the share was measured on the card from FROM to TO (CLOCK_MONOTONIC).
 */
void throttle_present(ledger_file *book, uint64_t from, uint64_t to);
