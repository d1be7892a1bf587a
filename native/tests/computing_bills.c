/* What launches on the tests' own card are billed: each work once, and no time of others. */
#include "computing.h"

static struct CUfunc_st medium = {1000000}, lengthy = {40000000}, endless = {ENDLESS_NS};
static struct CUstream_st stream, other;

static CUlaunchConfig config = {1, 1, 1, 32, 1, 1, 0, NULL, NULL, 0};
static CUDA_LAUNCH_PARAMS list = {.function = &medium};
#define LAUNCHES(X)                                                                                          \
    X(cuLaunchKernel(&medium, 1, 1, 1, 1, 1, 1, 0, &stream, NULL, NULL), &stream)                            \
    X(cuLaunchKernel(&medium, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CU_STREAM_LEGACY)                      \
    X(cuLaunchKernel_ptsz(&medium, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CU_STREAM_PER_THREAD)             \
    X(cuLaunchCooperativeKernel(&medium, 1, 1, 1, 1, 1, 1, 0, NULL, NULL), CU_STREAM_LEGACY)                 \
    X(cuLaunchCooperativeKernel_ptsz(&medium, 1, 1, 1, 1, 1, 1, 0, NULL, NULL), CU_STREAM_PER_THREAD)        \
    X(cuLaunchKernelEx(&config, &medium, NULL, NULL), CU_STREAM_LEGACY)                                      \
    X(cuLaunchKernelEx_ptsz(&config, &medium, NULL, NULL), CU_STREAM_PER_THREAD)                             \
    X(cuGraphLaunch((CUgraphExec) & medium, NULL), CU_STREAM_LEGACY)                                         \
    X(cuGraphLaunch_ptsz((CUgraphExec) & medium, NULL), CU_STREAM_PER_THREAD)                                \
    X(cuLaunch(&medium), CU_STREAM_LEGACY)                                                                   \
    X(cuLaunchGrid(&medium, 1, 1), CU_STREAM_LEGACY)                                                         \
    X(cuLaunchGridAsync(&medium, 1, 1, &stream), &stream)                                                    \
    X(cuLaunchGridAsync(&medium, 1, 1, NULL), CU_STREAM_LEGACY)                                              \
    X(cuLaunchCooperativeKernelMultiDevice(&list, 1, 0), CU_STREAM_LEGACY)

static void every_launch_is_measured_on_the_stream_where_it_runs(void) {
#define IS_MEASURED(call, stream)                                                                            \
    do {                                                                                                     \
        uint64_t before = billed();                                                                          \
        CHECK((call) == CUDA_SUCCESS);                                                                       \
        synchronize(stream);                                                                                 \
        CHECK(billed() - before > medium.ns - 1000 && billed() - before < medium.ns + 1000);                 \
    } while (0);
    LAUNCHES(IS_MEASURED)
}
static void a_launch_that_the_driver_refuses_is_not_billed(void) {
    gpu.refuses = CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < 100; i++) CHECK(launch(&medium, &stream) == CUDA_ERROR_INVALID_VALUE);
    CHECK(billed() == 0 && atomic_load(&account.paid_until) <= gpu.now);
    CHECK(cuLaunchKernelEx(NULL, &medium, NULL, NULL) == CUDA_ERROR_INVALID_VALUE);
}
static void code_that_has_no_room_is_not_launched(void) {
    atomic_store(&code_waiting, 1);
    CHECK(launch(&medium, &stream) == CUDA_ERROR_OUT_OF_MEMORY && stream.free_at == 0);
}

/* Two streams with 5 s of work each, beside each other; what both take is 5 s of the card. */
static void work_on_two_streams_at_once_is_billed_once(void) {
    for (int i = 0; i < 100; i++) {
        CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS && launch(&lengthy, &other) == CUDA_SUCCESS);
        synchronize(&stream), synchronize(&other);
    }
    CHECK(billed() > 100 * lengthy.ns && billed() < 110 * lengthy.ns);
}
static void time_of_others_is_not_billed(void) {
    gpu.stretch = 2;
    for (int i = 0; i < 100; i++) {
        hinted(0, 500);
        CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS);
        synchronize(&stream);
    }
    CHECK(billed() > 99 * lengthy.ns && billed() < 101 * lengthy.ns);
}
/* Since it was last asked, as far back as the ring goes. */
static uint64_t told_of_presence(void) {
    uint64_t units = 0;
    for (_Atomic uint64_t *bin = account.presence; bin < account.presence + LEDGER_BINS; bin++)
        units += atomic_exchange(bin, 0) & ((UINT64_C(1) << LEDGER_BIN_SHIFT) - 1);
    return (units << LEDGER_BIN_SHIFT) / LEDGER_BIN_UNITS;
}
static void the_ledger_is_told_when_work_was_on_a_card_that_is_shared(void) {
    CHECK(launch(&endless, &stream) == CUDA_SUCCESS);
    for (int i = 0; i < 10; i++) hinted(0, 500), pass(100 * MS);
    CHECK(told_of_presence() == 0); /* how the clocks lie is known when the first work has ended */
    hinted(0, 500), synchronize(&stream);
    CHECK(launch(&endless, &stream) == CUDA_SUCCESS);
    uint64_t told = 0;
    told_of_presence();
    for (int i = 0; i < 10; i++) hinted(0, 500), pass(100 * MS), told += told_of_presence();
    CHECK(told > 900 * MS && told < 1100 * MS);
}

/* It is counted, and would be taken twice from the neighbours. */
static void nothing_is_told_of_a_context_whose_clock_is_unknown(void) {
    static char another;
    CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS);
    hinted(0, 500), synchronize(&stream);
    told_of_presence();
    gpu.context = (CUcontext)&another;
    CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS);
    hinted(0, 500), pass(lengthy.ns / 2);
    CHECK(told_of_presence() == 0);
}
static void a_part_is_charged_of_the_time_that_works_share(void) {
    CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS);
    synchronize(&stream);
    uint64_t before = billed();
    hinted(0, 500);
    CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS);
    pass(lengthy.ns / 2);
    CHECK(launch(&lengthy, &other) == CUDA_SUCCESS);
    synchronize(&stream), synchronize(&other);
    uint64_t due = lengthy.ns * 3 / 4; /* half of one and a half times as long */
    CHECK(billed() - before > due - MS && billed() - before < due + MS);
}

static void work_that_fits_in_a_slice_is_not_told_of_as_present(void) {
    CHECK(launch(&medium, &stream) == CUDA_SUCCESS);
    synchronize(&stream);
    told_of_presence();
    for (int i = 0; i < 1000; i++) {
        hinted(0, 500);
        CHECK(launch(&medium, &stream) == CUDA_SUCCESS);
        pass(medium.ns / 2), synchronize(&stream);
    }
    CHECK(told_of_presence() == 0);
}

/* What cannot be measured is billed as it was known. */
static void known_and_then(void (*spoil)(void), int rounds) {
    CHECK(launch(&medium, &stream) == CUDA_SUCCESS);
    synchronize(&stream);
    uint64_t before = billed();
    spoil();
    for (int i = 0; i < rounds; i++) CHECK(launch(&medium, &stream) == CUDA_SUCCESS);
    CHECK(billed() - before == (uint64_t)rounds * medium.ns);
}
static void no_events(void) { gpu.events = 0, device_time_closing(gpu.context), gpu.context = NULL; }
static void work_without_a_context_is_billed_as_it_was_known(void) { known_and_then(no_events, 5); }
static void no_records(void) { gpu.records = 0; }
static void work_whose_events_fail_is_billed_as_it_was_known(void) { known_and_then(no_records, 5); }

static void of_two_cards_the_contexts_own_is_billed(void) {
    budgets = 2;
    CHECK(launch(&medium, &stream) == CUDA_SUCCESS);
    synchronize(&stream);
    CHECK(billed() > 0);
    gpu.context = NULL; /* of a card that is none of ours */
    CHECK(launch(&medium, &stream) == CUDA_SUCCESS);
}

void test_bills(void) {
    with_cores(100, every_launch_is_measured_on_the_stream_where_it_runs);
    with_cores(10, a_launch_that_the_driver_refuses_is_not_billed);
    with_cores(10, code_that_has_no_room_is_not_launched);
    with_cores(100, work_on_two_streams_at_once_is_billed_once);
    with_cores(100, time_of_others_is_not_billed);
    with_cores(100, the_ledger_is_told_when_work_was_on_a_card_that_is_shared);
    with_cores(100, nothing_is_told_of_a_context_whose_clock_is_unknown);
    with_cores(100, a_part_is_charged_of_the_time_that_works_share);
    with_cores(100, work_that_fits_in_a_slice_is_not_told_of_as_present);
    with_cores(100, work_without_a_context_is_billed_as_it_was_known);
    with_cores(100, work_whose_events_fail_is_billed_as_it_was_known);
    with_cores(100, of_two_cards_the_contexts_own_is_billed);
}
