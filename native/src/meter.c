#include "meter.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum {
    PREPAID_MOST_NS = 250000000, /* so that nobody waits for more because of a wrong guess */
    CROWDED_MOST_NS = 50000000,  /* running work may need what its program launches next */
    CROWDED_STEP_NS = 100000,
    WAIT_STEP_NS = 5000000, /* after which changed limits and hints are seen */
};

static meter meters[MOST_SHARES];

uint64_t meter_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

meter *meter_of(budget *card) {
    int count;
    return &meters[card - budget_all(&count)];
}

static budget *card_of(const meter *self) {
    int count;
    return &budget_all(&count)[self - meters];
}

static unsigned rate_of(share *each, uint64_t now) {
    unsigned rate = throttle_rate(&each->book.file->hint, each->limit.cores, each->limit.soft, now);
    throttle_set_rate(each->book.file, rate, now);
    return rate;
}

/* The share that may compute soonest, of several the first, with its rate and how long it must wait; NULL
 * when no ledger can be used: then nothing can be allocated either. */
static share *soonest(meter *self, uint64_t now, unsigned *rate, uint64_t *wait) {
    share *best = NULL;
    bool held = atomic_load_explicit(&self->held, memory_order_relaxed);
    budget *card = card_of(self);
    for (int i = 0; i < card->count; i++) {
        share *each = card->shares[i];
        if (!ledger_is_attached(&each->book)) continue;
        unsigned its_rate = rate_of(each, now);
        uint64_t its_wait =
            its_rate >= LEDGER_WHOLE_CARD ? 0 : throttle_wait(each->book.file, its_rate, now, held);
        if (best && its_wait >= *wait) continue;
        best = each;
        *rate = its_rate;
        *wait = its_wait;
    }
    return best;
}

/* The ledger that tells this process's compute: the card's first. */
static ledger *told(const meter *self) {
    ledger *book = &card_of(self)->shares[0]->book;
    return ledger_is_attached(book) ? book : NULL;
}

static void tell(meter *self, uint64_t own, uint64_t counted, uint64_t throttled, uint64_t now) {
    ledger *book = told(self);
    if (!book) return;
    ledger_slot *slot = &book->file->slots[book->slot];
    atomic_fetch_add(&slot->compute_ns, own);
    atomic_fetch_add(&slot->throttled_ns, throttled);
    atomic_store(&slot->active_s, (uint32_t)(now / 1000000000u));
    atomic_fetch_add(&book->file->compute_ns, own);
    throttle_counted(book->file, counted, now);
    atomic_fetch_add(&book->file->throttled_ns, throttled);
    atomic_fetch_add(&book->file->activity, 1);
    throttle_note_use(book->file, now);
}

static void sleep_ns(uint64_t ns) {
    struct timespec t = {.tv_nsec = (long)ns};
    nanosleep(&t, NULL);
}

/* More is in the driver's queues than the bound, not counting the latest: it is ready when the others end. */
static bool crowded(const meter *self) {
    uint64_t waiting = atomic_load(&self->submitted) - atomic_load(&self->finished);
    return waiting > AHEAD_NS + atomic_load(&self->latest);
}

void meter_wait(meter *self, void (*look)(void)) {
    uint64_t begin = meter_now(), throttled = 0;
    for (uint64_t now = begin;; now = meter_now()) {
        unsigned rate;
        uint64_t wait = 0;
        budget_refresh();
        if (!soonest(self, now, &rate, &wait)) return;
        /* Who has the whole card may queue as much as ever: a bound would let the device run dry. */
        bool queue_free = rate >= LEDGER_WHOLE_CARD || !crowded(self);
        if (!wait && (queue_free || now - begin > CROWDED_MOST_NS + throttled)) break;
        look();
        if (wait) {
            atomic_store(&self->held, true);
            sleep_ns(wait < WAIT_STEP_NS ? wait : WAIT_STEP_NS);
            throttled = meter_now() - begin;
            atomic_fetch_add(&self->holds, 1);
        } else {
            sleep_ns(CROWDED_STEP_NS);
        }
    }
    atomic_store(&self->held, false);
    if (throttled) tell(self, 0, 0, throttled, meter_now());
}

bool meter_joins(meter *self, void (*look)(void)) {
    unsigned rate;
    look();
    uint64_t wait, flying = atomic_load(&self->flying);
    if (!flying) return false;
    if (atomic_load(&self->submitted) - atomic_load(&self->finished) > PREPAID_MOST_NS) return false;
    if (!soonest(self, meter_now(), &rate, &wait) || (!wait && !crowded(self))) return false;
    return wait <= flying * LEDGER_WHOLE_CARD / rate;
}

/* Different from time to time, so that no rhythm of a program hides work from being measured. */
static int64_t next_sample(void) {
    static _Thread_local uint32_t state = 0x9e3779b9;
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return SAMPLE_NS / 2 + state % SAMPLE_NS;
}

static void bill(meter *self, int64_t ns, uint64_t now) {
    unsigned rate;
    uint64_t wait;
    share *payer = ns ? soonest(self, now, &rate, &wait) : NULL;
    if (payer) throttle_charge(payer->book.file, ns, rate, now);
}

uint64_t meter_overlapped(const meter *self, uint64_t ns) {
    unsigned part = atomic_load_explicit(&self->overlap, memory_order_relaxed);
    return part ? ns * part / LEDGER_WHOLE_CARD : ns;
}

void meter_bill(meter *self, bool soon) {
    int64_t counted = atomic_exchange(&self->unbilled, 0);
    atomic_store_explicit(&self->sample_at, next_sample() / (soon ? 8 : 1), memory_order_relaxed);
    if (counted <= 0) return;
    uint64_t now = meter_now(), cost = meter_overlapped(self, (uint64_t)counted);
    bill(self, (int64_t)cost, now);
    atomic_fetch_add(&self->submitted, cost);
    tell(self, cost, cost, 0, now);
}

/* What is billed in advance for work that is thought to take NS. */
static uint64_t advance(uint64_t ns) { return ns < PREPAID_MOST_NS ? ns : PREPAID_MOST_NS; }

uint64_t meter_prepay(meter *self, uint64_t ns, bool joins) {
    if (!joins) {
        bill(self, (int64_t)advance(ns), meter_now());
        atomic_fetch_add(&self->flying, advance(ns));
        atomic_store(&self->latest, ns);
    }
    return atomic_fetch_add(&self->submitted, ns) + ns;
}

static void has_finished(meter *self, uint64_t place) {
    uint64_t finished = atomic_load(&self->finished);
    while (finished < place && !atomic_compare_exchange_weak(&self->finished, &finished, place)) {
    }
}

void meter_caught_up(meter *self) { has_finished(self, atomic_load(&self->submitted)); }

void meter_settle(meter *self, uint64_t prepaid, uint64_t own, bool counted, uint64_t place) {
    uint64_t now = meter_now();
    atomic_fetch_sub(&self->flying, advance(prepaid));
    bill(self, (int64_t)own - (int64_t)advance(prepaid), now);
    has_finished(self, place);
    tell(self, own, counted ? own : 0, 0, now);
}

void meter_present(meter *self, uint64_t from, uint64_t to) {
    ledger *book = told(self);
    if (!book || to <= from) return;
    throttle_present(book->file, from, to);
    atomic_fetch_add(&book->file->activity, 1);
}

unsigned meter_part(const meter *self) {
    ledger *book = told(self);
    return book ? throttle_part(&book->file->hint, meter_now()) : LEDGER_WHOLE_CARD;
}

void meters_rested(void) {
    for (meter *each = meters; each < meters + MOST_SHARES; each++) {
        atomic_store_explicit(&each->sample_at, 0, memory_order_relaxed);
        atomic_store_explicit(&each->put_off, PUT_OFF_MOST, memory_order_relaxed);
    }
}

void meter_forked(void) { memset(meters, 0, sizeof meters); }
