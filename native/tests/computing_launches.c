/* Launches on the tests' own card: a share gets its cores, whatever it runs. */
#include "computing.h"

static struct CUfunc_st tiny = {10000}, brief = {100000}, medium = {1000000}, lengthy = {40000000};
static struct CUstream_st stream, other;

/* What a program gets in 20 s that launches so many at a time and waits for them, in parts of a thousand. */
static uint64_t part_of_card(CUfunction function, int together) {
    uint64_t begin = gpu.now, used = 0;
    while (gpu.now < begin + 20000 * MS) {
        for (int i = 0; i < together; i++) CHECK(launch(function, &stream) == CUDA_SUCCESS);
        used += (uint64_t)together * function->ns;
        synchronize(&stream);
    }
    return used * 1000 / (gpu.now - begin);
}
static void gets_its_cores(CUfunction function, int together) {
    uint64_t due = only.limit.cores * 10, got = part_of_card(function, together);
    CHECK(got >= due - due / 50 && got <= due + due / 50);
}
static void tiny_kernels_get_their_cores(void) { gets_its_cores(&tiny, 100); }
static void brief_kernels_get_their_cores(void) { gets_its_cores(&brief, 20); }
static void kernels_of_a_millisecond_get_their_cores(void) { gets_its_cores(&medium, 3); }
static void long_kernels_get_their_cores(void) { gets_its_cores(&lengthy, 1); }

static void work_that_is_waited_for_each_time_gets_its_cores(void) { gets_its_cores(&brief, 1); }

/* What a kernel whose work depends on its data got in so many ms: it is short, but for one launch in so many.
 */
static uint64_t part_of_varying(CUfunction varying, uint64_t usual_ns, uint64_t rare_ns, unsigned one_in,
                                uint64_t duration_ms) {
    uint64_t begin = gpu.now, used = 0;
    static uint32_t random = 1;
    while (gpu.now < begin + duration_ms * MS) {
        for (uint64_t step = 0; step < 10 * MS; step += varying->ns) {
            random = random * 1664525 + 1013904223;
            varying->ns = (random >> 16) % one_in ? usual_ns : rare_ns;
            CHECK(launch(varying, &stream) == CUDA_SUCCESS);
            used += varying->ns;
        }
        synchronize(&stream);
    }
    return used * 1000 / (gpu.now - begin);
}
static void work_that_varies_gets_its_cores(uint64_t usual_ns, uint64_t rare_ns, unsigned one_in) {
    struct CUfunc_st varying;
    uint64_t due = only.limit.cores * 10, got = part_of_varying(&varying, usual_ns, rare_ns, one_in, 20000);
    CHECK(got >= due - due / 20 && got <= due + due / 20);
}
static void work_that_is_seldom_long_gets_its_cores(void) {
    work_that_varies_gets_its_cores(20000, 2000000, 20);
    work_that_varies_gets_its_cores(50000, 800000, 5);
    work_that_varies_gets_its_cores(20000, 200000, 2);
    work_that_varies_gets_its_cores(100000, 5000000, 2);
}
/* Of which chance might find only short launches for long. */
static void new_work_that_is_seldom_long_gets_its_cores_soon(void) {
    static struct CUfunc_st kernels[50];
    uint64_t due = only.limit.cores * 10, most = 0;
    for (CUfunction each = kernels; each < kernels + 50; each++) {
        uint64_t got = part_of_varying(each, 20000, 2000000, 20, 1000);
        if (got > most) most = got;
    }
    CHECK(most <= due + due / 10);
}
static void more_kernels_than_are_remembered_get_their_cores(void) {
    static struct CUfunc_st kernels[9000];
    uint64_t begin = gpu.now, used = 0, due = only.limit.cores * 10;
    for (unsigned i = 0; gpu.now < begin + 20000 * MS; i++) {
        CUfunction next = &kernels[i % 9000];
        next->ns = 30000;
        CHECK(launch(next, &stream) == CUDA_SUCCESS);
        used += next->ns;
        if (i % 300 == 0) synchronize(&stream);
    }
    uint64_t got = used * 1000 / (gpu.now - begin);
    CHECK(got >= due - due / 20 && got <= due + due / 20);
}

static void work_that_is_long_after_a_rest_is_measured(void) {
    struct CUfunc_st changing = {20000};
    for (int i = 0; i < 500; i++) {
        CHECK(launch(&changing, &stream) == CUDA_SUCCESS);
        synchronize(&stream);
    }
    changing.ns = 20 * MS;
    meters_rested();
    uint64_t before = billed();
    CHECK(launch(&changing, &stream) == CUDA_SUCCESS);
    synchronize(&stream);
    CHECK(billed() - before > 19 * MS);
}

/* Each pays when it is the one that may compute soonest, so that they add up. */
static void two_shares_of_a_card_get_the_cores_of_both(void) {
    static ledger_file another;
    static share second = {.limit.cores = 40, .book = {.file = &another}};
    int count;
    budget *card = budget_all(&count);
    card->shares[card->count++] = &second;
    uint64_t got = part_of_card(&medium, 3);
    CHECK(got >= 690 && got <= 710);
}

/* The part of the time in which the card computes, for a program that launches so many kernels on so many
 * streams and waits for them. Kernels run beside each other, or IN_TURN where each fills the card. */
static uint64_t busy_with(uint64_t ns, unsigned streams, unsigned together, bool in_turn) {
    static struct CUstream_st many[8];
    CUfunction kernel = calloc(1, sizeof *kernel);
    kernel->ns = ns, gpu.in_turn = in_turn, gpu.busy_ns = 0;
    uint64_t begin = gpu.now;
    while (gpu.now < begin + 20000 * MS) {
        for (unsigned i = 0; i < together; i++) CHECK(launch(kernel, &many[i % streams]) == CUDA_SUCCESS);
        for (unsigned i = 0; i < streams; i++) synchronize(&many[i]);
    }
    return gpu.busy_ns * 1000 / (gpu.now - begin);
}
static void work_on_several_streams_gets_its_cores(void) {
    uint64_t due = only.limit.cores * 10;
    for (unsigned streams = 2; streams <= 8; streams *= 2) {
        for (int in_turn = 0; in_turn < 2; in_turn++) {
            uint64_t got[] = {busy_with(10000, streams, 400, in_turn),
                              busy_with(100000, streams, 40, in_turn),
                              busy_with(200000, streams, 16 * streams, in_turn),
                              busy_with(MS, streams, 24, in_turn), busy_with(40 * MS, streams, 16, in_turn)};
            for (int i = 0; i < 5; i++) CHECK(got[i] >= due - due / 20 && got[i] <= due + due / 20);
        }
    }
}
/* Nor are they made to take turns: so many kernels beside each other are so many times the work, for the most
 * part. */
static void work_on_several_streams_runs_beside_each_other(void) {
    static const uint64_t lengths[] = {100000, MS, 5 * MS, 50 * MS};
    for (unsigned streams = 2; streams <= 8; streams *= 2) {
        for (int i = 0; i < 4; i++) {
            uint64_t before = gpu.work_ns, begin = gpu.now, due = streams * only.limit.cores * 10;
            busy_with(lengths[i], streams, 2 * streams, false);
            uint64_t got = (gpu.work_ns - before) * 1000 / (gpu.now - begin);
            CHECK(got >= due * 6 / 10 && got <= due + due / 20);
        }
    }
}
static void work_joins_only_what_still_runs(void) {
    CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS);
    synchronize(&stream);
    CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS);
    gpu.now = stream.free_at; /* it has ended, and the limiter has not looked yet */
    uint64_t before = gpu.now;
    CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS);
    CHECK(gpu.now - before > 20 * MS);
}
static void work_that_has_other_debts_does_not_join(void) {
    struct CUfunc_st work = {40 * MS};
    CHECK(launch(&work, &stream) == CUDA_SUCCESS);
    synchronize(&stream);
    CHECK(launch(&work, &stream) == CUDA_SUCCESS);
    atomic_fetch_add(&account.paid_until, 1000 * MS); /* of another process */
    uint64_t before = gpu.now;
    CHECK(launch(&work, &other) == CUDA_SUCCESS && gpu.now - before > 900 * MS);
}
static void work_on_one_stream_after_several_gets_its_cores(void) {
    uint64_t due = only.limit.cores * 10;
    busy_with(10000, 8, 400, false);
    for (int again = 0; again < 2; again++) {
        uint64_t got = busy_with(10000, 1, 400, false);
        CHECK(got >= due - due / 50 && got <= due + due / 50);
    }
}

static void who_reserves_nothing_computes_until_the_agent_says_otherwise(void) {
    CHECK(part_of_card(&medium, 3) > 980 && billed() == 0);
    uint64_t begin = gpu.now, used = 0;
    while (gpu.now < begin + 5000 * MS) {
        hinted(100, 1000);
        CHECK(launch(&medium, &stream) == CUDA_SUCCESS);
        used += medium.ns;
        synchronize(&stream);
    }
    CHECK(used * 1000 / (gpu.now - begin) < 115);
}
static void a_container_without_shares_is_not_held_back(void) {
    budgets = 0;
    CHECK(part_of_card(&medium, 3) > 980 && billed() == 0);
}
static void who_has_the_whole_card_may_queue_as_far_ahead_as_ever(void) {
    uint64_t begin = gpu.now;
    for (int i = 0; i < 100; i++) CHECK(launch(&medium, &stream) == CUDA_SUCCESS);
    CHECK(gpu.now - begin < MS);
}
static void others_are_not_queued_far_ahead(void) {
    CHECK(launch(&medium, &stream) == CUDA_SUCCESS);
    synchronize(&stream); /* so that it is known how long that takes */
    for (int i = 0; i < 40; i++) {
        CHECK(launch(&medium, &stream) == CUDA_SUCCESS);
        CHECK(stream.free_at - gpu.now < 6 * MS);
    }
}
/* Which needs what its program launches next: after 50 ms it is let through, not counting what it is held
 * back for. */
static void work_that_waits_for_the_programs_next_launch_gets_it(void) {
    struct CUfunc_st waits = {40 * MS};
    CHECK(launch(&waits, &stream) == CUDA_SUCCESS);
    synchronize(&stream);
    waits.ns = ENDLESS_NS;
    for (int i = 0; i < 2; i++) CHECK(launch(&waits, &stream) == CUDA_SUCCESS);
    uint64_t paid_at = atomic_load(&account.paid_until);
    CHECK(paid_at > gpu.now + 60 * MS && launch(&waits, &stream) == CUDA_SUCCESS);
    CHECK(gpu.now >= paid_at + 49 * MS && gpu.now < paid_at + 60 * MS);
}
static void the_card_does_not_run_dry_between_two_launches(void) {
    struct CUfunc_st work = {5 * MS};
    CHECK(part_of_card(&work, 20) >= 985);
}
static void a_ledger_that_cannot_be_used_holds_nobody_back(void) {
    no_ledger = true, only.book.slot = -1;
    CHECK(part_of_card(&medium, 3) > 980 && billed() == 0);
}

void test_launches(void) {
    const unsigned cores[] = {10, 30, 50, 70, 90};
    for (int i = 0; i < 5; i++) {
        with_cores(cores[i], tiny_kernels_get_their_cores);
        with_cores(cores[i], brief_kernels_get_their_cores);
        with_cores(cores[i], kernels_of_a_millisecond_get_their_cores);
        with_cores(cores[i], long_kernels_get_their_cores);
        if (cores[i] < 90) with_cores(cores[i], work_that_is_waited_for_each_time_gets_its_cores);
        with_cores(cores[i], work_that_is_seldom_long_gets_its_cores);
        with_cores(cores[i], new_work_that_is_seldom_long_gets_its_cores_soon);
        with_cores(cores[i], more_kernels_than_are_remembered_get_their_cores);
        if (cores[i] <= 50) with_cores(cores[i], work_on_several_streams_gets_its_cores);
        if (cores[i] <= 50) with_cores(cores[i], work_on_several_streams_runs_beside_each_other);
        if (cores[i] <= 50) with_cores(cores[i], work_on_one_stream_after_several_gets_its_cores);
    }
    with_cores(30, work_joins_only_what_still_runs);
    with_cores(30, work_that_has_other_debts_does_not_join);
    with_cores(99, the_card_does_not_run_dry_between_two_launches);
    with_cores(30, work_that_is_long_after_a_rest_is_measured);
    with_cores(30, two_shares_of_a_card_get_the_cores_of_both);
    with_cores(0, who_reserves_nothing_computes_until_the_agent_says_otherwise);
    with_cores(0, a_container_without_shares_is_not_held_back);
    with_cores(100, who_has_the_whole_card_may_queue_as_far_ahead_as_ever);
    with_cores(99, others_are_not_queued_far_ahead);
    with_cores(10, work_that_waits_for_the_programs_next_launch_gets_it);
    with_cores(10, a_ledger_that_cannot_be_used_holds_nobody_back);
}
