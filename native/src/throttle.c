#include "throttle.h"

#include <stdatomic.h>

static bool fresh(const ledger_hint *hint, uint64_t now) {
    uint64_t at = atomic_load_explicit(&hint->at, memory_order_acquire);
    return at <= now ? now - at < LEDGER_HINT_LIFE_NS : at - now < LEDGER_HINT_LIFE_NS;
}

unsigned throttle_rate(const ledger_hint *hint, unsigned cores, bool soft, uint64_t now) {
    unsigned own = cores > 0 && cores <= 100 ? cores * (LEDGER_WHOLE_CARD / 100) : LEDGER_WHOLE_CARD;
    unsigned hinted = fresh(hint, now) ? atomic_load_explicit(&hint->rate, memory_order_relaxed) : 0;
    if (hinted == 0 || hinted > LEDGER_WHOLE_CARD) return own;
    /* Only a share that may use idle compute believes a hint that is above its own rate. */
    return hinted < own || soft ? hinted : own;
}

unsigned throttle_part(const ledger_hint *hint, uint64_t now) {
    unsigned part = fresh(hint, now) ? atomic_load_explicit(&hint->part, memory_order_relaxed) : 0;
    return part == 0 || part > LEDGER_WHOLE_CARD ? LEDGER_WHOLE_CARD : part;
}

void throttle_set_rate(ledger_file *book, unsigned rate, uint64_t now) {
    uint32_t before = atomic_load_explicit(&book->paid_rate, memory_order_relaxed);
    if (before == rate || !atomic_compare_exchange_strong(&book->paid_rate, &before, rate)) return;
    if (before == 0 || before > LEDGER_WHOLE_CARD) return;
    uint64_t until = atomic_load(&book->paid_until), scaled;
    do {
        if (until <= now) return;
        scaled = now + (uint64_t)((double)(until - now) * before / rate);
    } while (!atomic_compare_exchange_weak(&book->paid_until, &until, scaled));
}

void throttle_charge(ledger_file *book, int64_t device_ns, unsigned rate, uint64_t now) {
    int64_t wall_ns = (int64_t)((double)device_ns * LEDGER_WHOLE_CARD / rate);
    uint64_t until = atomic_load(&book->paid_until), next;
    do {
        uint64_t oldest = now > BURST_NS ? now - BURST_NS : 0;
        uint64_t from = until < oldest ? oldest : until;
        /* What comes back may be more than the clock has run. */
        next = wall_ns < 0 && from < (uint64_t)-wall_ns ? 0 : from + (uint64_t)wall_ns;
    } while (!atomic_compare_exchange_weak(&book->paid_until, &until, next));
}

uint64_t throttle_wait(const ledger_file *book, unsigned rate, uint64_t now, bool held) {
    uint64_t until = atomic_load_explicit(&book->paid_until, memory_order_relaxed);
    uint64_t overdraft = held ? 0 : (uint64_t)OVERDRAFT_NS * LEDGER_WHOLE_CARD / rate;
    return until > now + overdraft ? until - now : 0;
}

bool throttle_is_shared(uint64_t known) { return known >= SLICE_WORK_NS; }

/* How long other processes have the card before it is ours again, with a margin: of a part below a half there
 * are several, one after the other. */
static uint64_t others_turn(unsigned part) {
    uint64_t turn = TURN_NS + TURN_NS / 4;
    return part * 2 > LEDGER_WHOLE_CARD ? turn : turn * (LEDGER_WHOLE_CARD - part) / part;
}

/* An interruption takes two switches at least, 0.3 ms: what is above the mean by less is no interruption. */
static uint64_t usual_of(uint64_t known) { return known + known / 4 + LONG_NS / 2; }

bool throttle_may_be_turn(uint64_t measured, uint64_t known, unsigned part) {
    return part < LEDGER_WHOLE_CARD && known && known < SLICE_WORK_NS && measured > usual_of(known);
}

throttle_verdict throttle_judge(uint64_t measured, uint64_t idle_ns, uint64_t known, uint64_t longest,
                                unsigned part, bool believed) {
    uint64_t beside = idle_ns + EVENTS_NS;
    uint64_t net = measured > beside ? measured - beside : measured / 2;
    /* The device may have begun before the host was done: what is known and possible is not doubted. */
    if (known > net && known + EVENTS_NS <= measured) net = known;
    if (part == LEDGER_WHOLE_CARD)
        return (throttle_verdict){.own_ns = net, .part = part, .learn = true, .shared = net >= LONG_NS};
    uint64_t usual = usual_of(known);
    bool found_out = believed && longest <= usual; /* only now that it is long at times */
    if (believed && usual < longest + longest / 16) usual = longest + longest / 16;
    bool too_long = known && known < SLICE_WORK_NS && net > usual;
    bool long_at_times = believed && longest >= SLICE_WORK_NS;
    if (too_long && !found_out && !long_at_times && net < usual + others_turn(part))
        return (throttle_verdict){.own_ns = known, .part = LEDGER_WHOLE_CARD, .doubt = true};
    /* By what such work takes: one length near the bound is not judged now so and now otherwise. */
    if (long_at_times || (known && !too_long ? known : net) >= SLICE_WORK_NS)
        return (throttle_verdict){
            .own_ns = net * part / LEDGER_WHOLE_CARD, .part = part, .learn = true, .shared = true};
    return (throttle_verdict){.own_ns = net, .part = LEDGER_WHOLE_CARD, .learn = true};
}

uint64_t throttle_cover(uint64_t *covered, uint64_t start, uint64_t end, uint64_t earliest) {
    uint64_t from = start < earliest ? start : earliest;
    if (from < *covered) from = *covered;
    if (end <= from) return 0;
    *covered = end;
    return end - from;
}

/* What a bin of an earlier round of the ring says is over. */
static void add_to_bin(_Atomic uint64_t *word, uint64_t bin, uint64_t units) {
    const uint64_t most = (UINT64_C(1) << LEDGER_BIN_SHIFT) - 1;
    uint64_t before = atomic_load_explicit(word, memory_order_relaxed), after;
    do {
        uint64_t sum = units + (before >> LEDGER_BIN_SHIFT == bin ? before & most : 0);
        after = bin << LEDGER_BIN_SHIFT | (sum < most ? sum : most);
    } while (!atomic_compare_exchange_weak_explicit(word, &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void throttle_counted(ledger_file *book, uint64_t device_ns, uint64_t now) {
    if (device_ns == 0) return;
    uint64_t bin = now >> LEDGER_COUNTED_SHIFT;
    add_to_bin(&book->counted[bin % LEDGER_COUNTED_BINS], bin, device_ns / LEDGER_COUNTED_NS);
}

void throttle_present(ledger_file *book, uint64_t from, uint64_t to) {
    uint64_t width = UINT64_C(1) << LEDGER_BIN_SHIFT;
    if (to - from > LEDGER_BINS * width) from = to - LEDGER_BINS * width;
    while (from < to) {
        uint64_t end = (from / width + 1) * width;
        if (end > to) end = to;
        uint64_t bin = from / width, units = (end - from) * LEDGER_BIN_UNITS / width;
        add_to_bin(&book->presence[bin % LEDGER_BINS], bin, units);
        from = end;
    }
}

void throttle_note_use(ledger_file *book, uint64_t now) {
    uint64_t begin = atomic_load_explicit(&book->window_at, memory_order_relaxed);
    if (now < begin + USE_WINDOW_NS || !atomic_compare_exchange_strong(&book->window_at, &begin, now)) return;
    uint64_t total = atomic_load(&book->compute_ns), before = atomic_exchange(&book->window_ns, total);
    uint64_t use = begin && total > before ? (total - before) * LEDGER_WHOLE_CARD / (now - begin) : 0;
    atomic_store(&book->window_use, use < LEDGER_WHOLE_CARD ? (uint32_t)use : LEDGER_WHOLE_CARD);
}

/* A window that is not over yet is filled up with what was used before it. */
unsigned throttle_recent_use(const ledger_file *book, uint64_t now) {
    uint64_t begin = atomic_load(&book->window_at), total = atomic_load(&book->compute_ns);
    uint64_t before = atomic_load(&book->window_ns), passed = now > begin ? now - begin : 0;
    if (!begin) return 0;
    uint64_t used = total > before ? total - before : 0, length = passed;
    if (passed < USE_WINDOW_NS) {
        used += atomic_load(&book->window_use) * (USE_WINDOW_NS - passed) / LEDGER_WHOLE_CARD;
        length = USE_WINDOW_NS;
    }
    uint64_t use = used * LEDGER_WHOLE_CARD / length;
    return use < LEDGER_WHOLE_CARD ? (unsigned)use : LEDGER_WHOLE_CARD;
}
