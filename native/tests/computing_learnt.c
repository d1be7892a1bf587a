/* What is learnt of work from its measurements: what it costs, whether it is interrupted, how it overlaps. */
#include "computing.h"

/* Another measurement that is too long, of work that is known to cost so much, APART from the one before;
 * whether such are believed. */
static bool seen_of(turns *self, uint64_t known, uint64_t apart, unsigned holds) {
    static uint64_t at = LATER;
    turns_saw(self, "one stream");
    turns_learn(self, at + apart, at + apart + 2 * MS, known, holds);
    at += apart + 2 * MS;
    return turns_believed(self);
}
static bool seen(turns *self, uint64_t apart, unsigned holds) { return seen_of(self, 20000, apart, holds); }
static void what_seems_too_long_twice_within_a_slice_is_not_interrupted(void) {
    turns self = {0};
    for (int i = 0; i < 100; i++) CHECK(!seen(&self, 2 * MS, 0)); /* a slice lies between others' turns */
    for (int i = 0; i < 3; i++) CHECK(seen(&self, MS / 2, 0) == (i == 2));
    for (int i = 0; i < 100; i++) CHECK(seen(&self, MS / 2, 0));
    turns_saw(&self, "another stream");
    CHECK(!turns_believed(&self)); /* of two nobody can tell any more */
    for (int i = 0; i < 100; i++) seen(&self, MS / 2, 0);
    CHECK(turns_believed(&self));
    turns close = {0}; /* where one begins as the other ends, as far as both are known */
    for (int i = 0; i < 4; i++) seen(&close, -UINT64_C(100), 0);
    CHECK(turns_believed(&close));
    for (int i = 0; i < 10; i++) seen(&self, 2 * MS, 0);
    CHECK(!turns_believed(&self));                                     /* now they are interrupted */
    for (unsigned i = 1; i < 100; i++) CHECK(!seen(&self, MS / 2, i)); /* it had no work meanwhile */
    for (int i = 0; i < 100; i++) {
        turns_saw(&self, "another stream"); /* one turn interrupts the work of both */
        CHECK(!seen(&self, MS / 2, 100));
    }
    for (int i = 0; i < 60; i++) CHECK(!seen(&self, MS / 2, 100)); /* which may go on */
    for (int i = 0; i < 60; i++) seen(&self, MS / 2, 100);
    CHECK(turns_believed(&self)); /* there is only one by now */
    turns longer = {0};           /* the ends of what was interrupted belong to the slice as well */
    for (int i = 0; i < 100; i++) CHECK(!seen_of(&longer, MS * 3 / 5, MS / 2, 0));
}

static void costs_are_learnt_and_follow_a_change(void) {
    int a = 0, b = 0;
    cost *one = cost_of(&a, 1);
    CHECK(cost_of(&a, 1) == one && cost_of(&a, 2) != one && cost_of(&b, 1) != one && one->ns == 0);
    for (int i = 0; i < 200; i++) cost_learn(one, i % 2 ? 900 : 1100);
    CHECK(one->ns > 950 && one->ns < 1050);
    for (int i = 0; i < 64; i++) cost_learn(one, 100);
    CHECK(one->ns < 150);
    for (int i = 0; i < 15; i++) cost_doubt(one, 200);
    CHECK(one->ns < 150);
    cost_doubt(one, 200);
    CHECK(one->ns == 200); /* never anything else: it is what such work takes now */
    for (int i = 0; i < COST_SETTLED; i++) cost_learn(one, 200);
    CHECK(one->samples == COST_SETTLED);
    for (int i = 0; i < 3; i++) cost_doubt(one, 4000);
    CHECK(one->samples < COST_SETTLED); /* the next are measured as well */
    CHECK(one->ns == 200);
    cost_doubt(one, 4000); /* which interrupts so short work so often by no chance */
    CHECK(one->ns == 4000);
    for (int i = 0; i < 100; i++) cost_learn(one, 1000), cost_doubt(one, 4000);
    CHECK(one->ns < 1100);
    cost *nothing = cost_of("nothing", 1);
    cost_learn(nothing, 0);
    CHECK(nothing->ns > 0); /* 0 would say that it was never measured */
    one->ns = 0;
    cost_doubt(one, 1000);
}

static void first_measurements_may_be_disturbed(void) {
    cost *one = cost_of("first", 1);
    cost_learn(one, 5000), cost_learn(one, 1000), cost_learn(one, 4000);
    CHECK(one->ns == 1000 && one->longest == 1000);
}

static void the_longest_is_remembered_for_some_time(void) {
    cost *one = cost_of("longest", 1);
    for (int i = 0; i < 10; i++) cost_learn(one, 1000);
    cost_learn(one, 50000);
    for (int i = 0; i < 100; i++) cost_learn(one, 1000);
    CHECK(one->longest > 25000);
    for (int i = 0; i < 300; i++) cost_learn(one, 1000);
    CHECK(one->longest > 30000);
    for (int i = 0; i < 6000; i++) cost_learn(one, 1000);
    CHECK(one->longest < 1500);
}

/* Where the places of some are the same. */
static void some_hundred_kinds_of_work_are_all_known(void) {
    for (uint64_t shape = 1; shape < 600; shape++) cost_learn(cost_of(NULL, shape), 5000);
    for (uint64_t shape = 1; shape < 600; shape++) CHECK(cost_of(NULL, shape)->ns == 5000);
}
static void more_kinds_of_work_than_places_are_served_all_the_same(void) {
    for (uint64_t shape = 0; shape < 20000; shape++) {
        cost *each = cost_of("work", shape);
        CHECK(each->ns == 0 || shape < 4096);
        cost_learn(each, 5000);
    }
}

static const void *const STREAMS = "streams";

/* Samples 1 ms of charges apart, in turn on so many streams, for which PASSED ns went by; what is charged
 * then. */
static unsigned learnt(overlap *self, unsigned streams, uint64_t passed, bool alone, unsigned count) {
    static overlap_sample next = {.end = LATER, .length = 10000, .cost = 10000};
    unsigned part = self->mixed ? (unsigned)self->estimate : 0;
    for (unsigned i = 0; i < count; i++) {
        next.stream = (const char *)STREAMS + i % streams;
        next.end += passed, next.place += part && part < 1000 ? MS * part / 1000 : MS;
        part = overlap_learn(self, &next, alone);
    }
    return part;
}
static void work_that_overlaps_is_counted_by_what_it_takes_together(void) {
    overlap self = {0};
    CHECK(learnt(&self, 1, MS / 4, true, 200) == 1000); /* one stream cannot overlap: the host was slow */
    unsigned part = learnt(&self, 4, MS / 4, true, 200);
    CHECK(part >= 240 && part <= 260);
    part = learnt(&self, 4, MS, true, 200);
    CHECK(part == 1000);
    CHECK(learnt(&self, 4, 10 * MS, true, 20) == 1000); /* the device had nothing to do */
    part = learnt(&self, 4, MS / 2, true, 200);
    CHECK(part >= 480 && part <= 520);
    for (int i = 0; i < 50; i++) { /* another process's turns say nothing */
        CHECK(learnt(&self, 4, 3 * MS, false, 1) == part);
        part = learnt(&self, 4, MS / 2, false, 10);
        CHECK(part >= 480 && part <= 520);
    }
    part = learnt(&self, 4, MS, false, 200); /* so many in a row are none */
    CHECK(part == 1000);
    for (int i = 0; i < 50; i++) { /* but alone on the card, whatever takes longer counts */
        learnt(&self, 4, 3 * MS, true, 1);
        part = learnt(&self, 4, MS / 2, true, 9);
    }
    CHECK(part >= 700 && part <= 800);
    for (int i = 0; i < 100; i++) { /* what comes and goes is neither here nor there */
        part = learnt(&self, 4, i % 2 ? MS / 4 : 3 * MS / 4, true, 16);
        CHECK(i < 10 || (part > 400 && part < 650));
    }
    uint64_t sum = 0; /* around the whole, it errs to both sides */
    for (int i = 0; i < 200; i++) sum += learnt(&self, 4, i % 2 ? MS * 9 / 10 : MS * 11 / 10, true, 16);
    CHECK(sum / 200 > 980);
    learnt(&self, 4, MS / 4, true, 100);
    CHECK(learnt(&self, 1, MS / 2, true, 100) == 1000);
    CHECK(learnt(&self, 4, MS, true, 2) == 1000); /* what was learnt before is long ago */
    CHECK(learnt(&self, 2, 0, true, 100000) >= 10);
    CHECK(learnt(&self, 2, MS, true, 1000) == 1000); /* it comes back from there */
}

void test_learnt(void) {
    what_seems_too_long_twice_within_a_slice_is_not_interrupted();
    costs_are_learnt_and_follow_a_change();
    first_measurements_may_be_disturbed();
    the_longest_is_remembered_for_some_time();
    work_that_overlaps_is_counted_by_what_it_takes_together();
    some_hundred_kinds_of_work_are_all_known();
    more_kinds_of_work_than_places_are_served_all_the_same();
}
