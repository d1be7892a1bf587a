/*
 * The compute that this process takes of a card: bills it to the shares of the card, makes callers wait, and
 * tells the ledger. Knows budgets and the clock, not CUDA.
 */
#pragma once

#include "budget.h"
#include "throttle.h"

enum { PUT_OFF_MOST = 8 }; /* measurements in a row */

typedef struct {
    _Atomic int64_t unbilled;   /* ns of short work launched since the last bill */
    _Atomic int64_t sample_at;  /* unbilled ns at which the next launch is measured */
    _Atomic uint64_t submitted; /* ns that all launches so far are thought to take */
    _Atomic uint64_t finished;  /* the same up to the last launch that is known to have ended */
    _Atomic uint64_t latest;    /* ns of the latest that was prepaid: it may wait behind what runs */
    _Atomic unsigned overlap;   /* thousandths of counted work that are charged; 0: all (overlap.h) */
    _Atomic unsigned holds;     /* how often somebody was held back */
    _Atomic uint64_t flying;    /* ns billed in advance for launches that have not been settled */
    _Atomic unsigned put_off;   /* measurements in a row for which the stream was idle */
    _Atomic bool held;
} meter;

/* The meter of a card; the same for every call. */
meter *meter_of(budget *card);

/* Count one launch of short work; true when it shall be measured. For every launch, so in a few ns. */
static inline bool meter_count(meter *self, uint64_t ns) {
    int64_t before = __atomic_fetch_add((int64_t *)&self->unbilled, (int64_t)ns, __ATOMIC_RELAXED);
    return before + (int64_t)ns >= __atomic_load_n((int64_t *)&self->sample_at, __ATOMIC_RELAXED);
}

/* What is charged for counted work that seems to take NS: less where it overlaps. */
uint64_t meter_overlapped(const meter *self, uint64_t ns);

/* Wait until the card's shares may compute. LOOK sees what has ended. */
void meter_wait(meter *self, void (*look)(void));

/* Whether work on an idle stream, which would have to wait, may begin at once beside what runs: but for that,
 * all is paid. It is charged what it adds to the time, when it has ended. */
bool meter_joins(meter *self, void (*look)(void));

/* Bill what was counted. Measure the next launch SOON, or after the usual amount of work. */
void meter_bill(meter *self, bool soon);

/* Bill NS in advance for work that is measured, and will be settled; nothing for work that JOINS what runs.
 * Returns its place in the order of submission. */
uint64_t meter_prepay(meter *self, uint64_t ns, bool joins);

/* All that was submitted so far has ended. */
void meter_caught_up(meter *self);

/* Work whose PREPAID ns were billed has ended: it took OWN ns. COUNTED: it was known to be all its own. */
void meter_settle(meter *self, uint64_t prepaid, uint64_t own, bool counted, uint64_t place);

/* Tell the ledger that measured work was on the card from FROM to TO, in our time. */
void meter_present(meter *self, uint64_t from, uint64_t to);

/* See throttle_part. */
unsigned meter_part(const meter *self);

/* Nothing was measured for some time: measure the next launch on each card, since short work may be long by
 * now.
 */
void meters_rested(void);

uint64_t meter_now(void);

/* In the child of a fork. */
void meter_forked(void);
