/* computing: the account of a share, and what a measurement says, from the headers' promises. */
#include "computing.h"

#include <stdatomic.h>

static ledger_file *fresh_book(void) {
    static ledger_file book;
    memset(&book, 0, sizeof book);
    return &book;
}

static void a_share_that_computes_all_the_time_gets_its_rate(void) {
    for (unsigned rate = 10; rate <= 900; rate += 89) {
        ledger_file *book = fresh_book();
        uint64_t now = LATER, used = 0;
        bool held = false;
        while (now < LATER + 10000 * MS) {
            uint64_t wait = throttle_wait(book, rate, now, held);
            held = wait > 0;
            now += wait;
            if (wait) continue;
            /* What it cost is known afterwards only, and differs. */
            uint64_t guess = MS / 2, real = MS / 4 + used % MS;
            throttle_charge(book, (int64_t)guess, rate, now);
            throttle_charge(book, (int64_t)real - (int64_t)guess, rate, now);
            used += real;
            now += real;
        }
        uint64_t due = (now - LATER) * rate / 1000;
        CHECK(used > due - due / 100 && used < due + due / 100 + OVERDRAFT_NS + 25 * MS);
    }
}

static void idle_time_is_made_up_for_a_little_only(void) {
    ledger_file *book = fresh_book();
    uint64_t used = 0;
    while (!throttle_wait(book, 500, LATER, false)) {
        throttle_charge(book, 100000, 500, LATER);
        used += 100000;
    }
    CHECK(used >= BURST_NS / 2 && used <= BURST_NS / 2 + OVERDRAFT_NS + 100000);
}

static void what_comes_back_is_not_owed_where_nobody_knows_of_it(void) {
    ledger_file *book = fresh_book();
    throttle_charge(book, -(int64_t)MS, 500, LATER);
    CHECK(throttle_wait(book, 500, LATER, true) == 0);
    book = fresh_book();
    throttle_charge(book, -100 * (int64_t)MS, 500, MS); /* just after the node has started */
    CHECK(throttle_wait(book, 500, MS, true) == 0);
}

static void who_is_held_waits_for_the_whole_debt(void) {
    ledger_file *book = fresh_book();
    atomic_store(&book->paid_until, LATER + 3 * MS);
    CHECK(throttle_wait(book, 500, LATER, false) == 0);
    CHECK(throttle_wait(book, 500, LATER, true) == 3 * MS);
    atomic_store(&book->paid_until, LATER + 5 * MS);
    CHECK(throttle_wait(book, 500, LATER, false) == 5 * MS);
}

static void a_debt_takes_longer_or_shorter_at_another_rate(void) {
    ledger_file *book = fresh_book();
    throttle_set_rate(book, 100, LATER);
    CHECK(atomic_load(&book->paid_until) == 0);
    atomic_store(&book->paid_until, LATER + 900 * MS);
    throttle_set_rate(book, 900, LATER);
    CHECK(atomic_load(&book->paid_until) == LATER + 100 * MS);
    throttle_set_rate(book, 900, LATER);
    CHECK(atomic_load(&book->paid_until) == LATER + 100 * MS);
    throttle_set_rate(book, 100, LATER + 200 * MS); /* nothing is owed any more */
    CHECK(atomic_load(&book->paid_until) == LATER + 100 * MS);
}

static void a_hint_holds_a_share_back_and_lifts_only_a_soft_one(void) {
    ledger_hint hint = {0};
    CHECK(throttle_rate(&hint, 0, false, LATER) == 1000 && throttle_rate(&hint, 30, false, LATER) == 300);
    CHECK(throttle_part(&hint, LATER) == 1000);
    hint = (ledger_hint){LATER, 10, 500};
    CHECK(throttle_rate(&hint, 30, false, LATER) == 10 && throttle_rate(&hint, 0, false, LATER) == 10);
    CHECK(throttle_part(&hint, LATER) == 500);
    hint.rate = 800;
    CHECK(throttle_rate(&hint, 30, false, LATER) == 300 && throttle_rate(&hint, 30, true, LATER) == 800);
    hint = (ledger_hint){LATER, 1001, 1001}; /* none that the agent would write */
    CHECK(throttle_rate(&hint, 30, true, LATER) == 300 && throttle_part(&hint, LATER) == 1000);
    hint = (ledger_hint){LATER, 10, 500};
    CHECK(throttle_rate(&hint, 30, false, LATER + LEDGER_HINT_LIFE_NS) == 300);
    CHECK(throttle_part(&hint, LATER + LEDGER_HINT_LIFE_NS) == 1000);
    hint.at = LATER + 2 * LEDGER_HINT_LIFE_NS; /* of another boot */
    CHECK(throttle_rate(&hint, 30, false, LATER) == 300);
}

static void what_is_measured_is_judged_by_its_length(void) {
    throttle_verdict v = throttle_judge(6000, 2000, 0, 0, 1000, false);
    CHECK(v.own_ns == 4000 - EVENTS_NS && v.learn && !v.shared);
    v = throttle_judge(5000, 7000, 0, 0, 1000, false); /* the host cannot have waited longer than it took */
    CHECK(v.own_ns == 2500 && v.learn);
    v = throttle_judge(6000, 2000, 4500, 4500, 1000, false); /* but perhaps for less than that */
    CHECK(v.own_ns == 4500 && v.learn);
    v = throttle_judge(6000, 2000, 5500, 5500, 1000, false);
    CHECK(v.own_ns == 4000 - EVENTS_NS && v.learn);
    v = throttle_judge(10 * MS + EVENTS_NS, 0, 10 * MS, 10 * MS, 500, false);
    CHECK(v.own_ns == 5 * MS && v.learn && v.shared && v.part == 500);
    v = throttle_judge(2 * MS, 0, 10000, 10000, 500, false); /* another's slice fell into a short kernel */
    CHECK(v.own_ns == 10000 && !v.learn && v.doubt && !v.shared);
    v = throttle_judge(2 * MS + EVENTS_NS, 0, 10000, 10000, 1000,
                       false); /* alone, it really took that long */
    CHECK(v.own_ns == 2 * MS && v.learn);
}

static void work_that_fits_in_a_slice_is_all_its_own_or_interrupted(void) {
    throttle_verdict v = throttle_judge(MS + EVENTS_NS, 0, MS, MS, 500, false);
    CHECK(v.own_ns == MS && v.part == 1000 && v.learn && !v.shared);
    v = throttle_judge(4 * MS, 0, MS, MS, 500, false);
    CHECK(v.own_ns == MS && v.doubt && !v.learn && !v.shared);
    v = throttle_judge(6 * MS, 0, MS, MS, 250, false); /* of three others, one after the other */
    CHECK(v.own_ns == MS && v.doubt && !v.learn && !v.shared);
    v = throttle_judge(100000 + EVENTS_NS, 0, 10000, 10000, 500, false); /* no switch is so short */
    CHECK(v.own_ns == 100000 && v.learn && !v.doubt);
    v = throttle_judge(8 * MS / 5 + EVENTS_NS, 0, 7 * MS / 5, 7 * MS / 5, 500, false);
    CHECK(v.own_ns == 8 * MS / 5 && v.learn && !v.shared); /* near the bound, which it usually is below ... */
    v = throttle_judge(7 * MS / 5 + EVENTS_NS, 0, 8 * MS / 5, 8 * MS / 5, 500, false);
    CHECK(v.own_ns == 7 * MS / 10 && v.learn && v.shared); /* ... or above */
    CHECK(throttle_may_be_turn(2 * MS, MS, 500));
    CHECK(!throttle_may_be_turn(2 * MS, MS, 1000) && !throttle_may_be_turn(5 * MS, 2 * MS, 500));
    v = throttle_judge(4 * MS + EVENTS_NS, 0, 0, 0, 500, false); /* not known yet: as long work */
    CHECK(v.own_ns == 2 * MS && v.learn && v.shared);
    v = throttle_judge(100 * MS + EVENTS_NS, 0, MS, MS, 500,
                       false); /* longer than anything else has the card */
    CHECK(v.own_ns == 50 * MS && v.learn && v.shared);
}

static void work_that_is_long_at_times_is_charged_as_long_work_when_that_is_believed(void) {
    throttle_verdict v = throttle_judge(2 * MS + EVENTS_NS, 0, 20000, 5 * MS, 500, true);
    CHECK(v.own_ns == MS && v.learn && v.shared);
    v = throttle_judge(20000 + EVENTS_NS, 0, 20000, 5 * MS, 500, true);
    CHECK(v.own_ns == 10000 && v.learn && v.shared);
    v = throttle_judge(800000 + EVENTS_NS, 0, 20000, 800000, 500, true); /* but not if it always fits */
    CHECK(v.own_ns == 800000 && v.learn && !v.shared);
    v = throttle_judge(800000 + EVENTS_NS, 0, 20000, 20000, 500, true); /* and not when that is news */
    CHECK(v.own_ns == 800000 && v.learn && !v.shared);
    v = throttle_judge(3 * MS + EVENTS_NS, 0, 20000, 800000, 500, true); /* of which one was interrupted */
    CHECK(v.own_ns == 20000 && v.doubt && !v.learn);
    v = throttle_judge(8 * MS + EVENTS_NS, 0, 20000, 5 * MS, 500, true);
    CHECK(v.own_ns == 4 * MS && v.learn && v.shared);
    v = throttle_judge(2 * MS + EVENTS_NS, 0, 20000, 20000, 500, true);
    CHECK(v.own_ns == MS && v.learn && v.shared);
    v = throttle_judge(2 * MS + EVENTS_NS, 0, 20000, 5 * MS, 500, false); /* not believed any more */
    CHECK(v.own_ns == 20000 && v.doubt && !v.learn);
}

static void work_that_overlaps_is_charged_once(void) {
    uint64_t covered = 0;
    CHECK(throttle_cover(&covered, 10, 20, 20) == 10);
    CHECK(throttle_cover(&covered, 15, 30, 30) == 10);
    CHECK(throttle_cover(&covered, 12, 25, 25) == 0 && covered == 30);
    CHECK(throttle_cover(&covered, 50, 60, 40) == 20); /* something has been running since 40 */
    CHECK(throttle_cover(&covered, 40, 90, 90) == 30);
}

static uint64_t units_in(const ledger_file *book, uint64_t bin) {
    uint64_t word = book->presence[bin % LEDGER_BINS];
    return word >> LEDGER_BIN_SHIFT == bin ? word % (1 << LEDGER_BIN_SHIFT) : 0;
}

static uint64_t counted_in(const ledger_file *book, uint64_t bin) {
    uint64_t word = book->counted[bin % LEDGER_COUNTED_BINS];
    return word >> LEDGER_BIN_SHIFT == bin ? word % (1 << LEDGER_BIN_SHIFT) * LEDGER_COUNTED_NS : 0;
}

static void known_work_is_told_in_the_bin_in_which_it_was_counted(void) {
    ledger_file *book = fresh_book();
    uint64_t width = UINT64_C(1) << LEDGER_COUNTED_SHIFT;
    throttle_counted(book, 0, 1000 * width);
    CHECK(book->counted[1000 % LEDGER_COUNTED_BINS] == 0);
    throttle_counted(book, 160000, 1000 * width);
    throttle_counted(book, 320000, 1001 * width - 1);
    CHECK(counted_in(book, 1000) == 480000);
    throttle_counted(book, 16, (1000 + LEDGER_COUNTED_BINS) * width);
    CHECK(counted_in(book, 1000) == 0 && counted_in(book, 1000 + LEDGER_COUNTED_BINS) == 16);
    throttle_counted(book, 3600 * 1000 * MS, 2000 * width); /* never taken for another bin's */
    CHECK(counted_in(book, 2000) == ((1 << LEDGER_BIN_SHIFT) - 1) * LEDGER_COUNTED_NS);
}

static void presence_fills_the_bins_that_it_touches(void) {
    ledger_file *book = fresh_book();
    uint64_t width = UINT64_C(1) << LEDGER_BIN_SHIFT;
    throttle_present(book, 1000 * width + width / 2, 1002 * width + width / 4);
    CHECK(units_in(book, 1000) == 512 && units_in(book, 1001) == 1024 && units_in(book, 1002) == 256);
    throttle_present(book, 1001 * width, 1002 * width); /* a second process */
    CHECK(units_in(book, 1001) == 2048);
    throttle_present(book, (1001 + LEDGER_BINS) * width, (1002 + LEDGER_BINS) * width);
    CHECK(units_in(book, 1001) == 0 && units_in(book, 1001 + LEDGER_BINS) == 1024);
    const uint64_t late = UINT64_C(1) << 40; /* of which only the last bins are gone through */
    throttle_present(book, 0, late * width);
    CHECK(units_in(book, late - 1) == 1024 && units_in(book, late - LEDGER_BINS) == 1024);
}

static void recent_use_is_that_of_about_half_a_second(void) {
    ledger_file *book = fresh_book();
    CHECK(throttle_recent_use(book, LATER) == 0);
    uint64_t now = LATER;
    for (; now < LATER + 2000 * MS; now += 5 * MS) { /* a third of the time */
        atomic_fetch_add(&book->compute_ns, 5 * MS / 3);
        throttle_note_use(book, now);
    }
    for (uint64_t at = now; at < now + 400 * MS; at += 50 * MS) {
        unsigned use = throttle_recent_use(book, at);
        CHECK(use <= 350 && use + (at - now) / MS >= 300); /* falls slowly when nothing comes */
    }
    CHECK(throttle_recent_use(book, now + 5000 * MS) < 40);
    for (uint64_t end = now + 3000 * MS; now < end; now += 5 * MS) { /* more than all of it, as it seems */
        atomic_fetch_add(&book->compute_ns, 6 * MS);
        throttle_note_use(book, now);
    }
    CHECK(throttle_recent_use(book, now) == LEDGER_WHOLE_CARD);
}

int main(void) {
    a_share_that_computes_all_the_time_gets_its_rate();
    idle_time_is_made_up_for_a_little_only();
    what_comes_back_is_not_owed_where_nobody_knows_of_it();
    who_is_held_waits_for_the_whole_debt();
    a_debt_takes_longer_or_shorter_at_another_rate();
    a_hint_holds_a_share_back_and_lifts_only_a_soft_one();
    what_is_measured_is_judged_by_its_length();
    work_that_fits_in_a_slice_is_all_its_own_or_interrupted();
    work_that_is_long_at_times_is_charged_as_long_work_when_that_is_believed();
    work_that_overlaps_is_charged_once();
    known_work_is_told_in_the_bin_in_which_it_was_counted();
    presence_fills_the_bins_that_it_touches();
    recent_use_is_that_of_about_half_a_second();
    test_learnt();
    test_launches();
    test_bills();
    test_contexts();
    test_captures();
    puts("computing: as promised");
    return 0;
}
