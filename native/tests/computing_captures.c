/*
 * Streams in capture: what they record is not billed and nothing of ours gets into it, and once the last of
 * them has ended, launches are no longer slowed by asking for it. By each of the entry points that begin and
 * end a capture.
 */
#include "computing.h"

enum { ROUNDS = 10, RECORDED = 300 };

static struct CUfunc_st brief = {100000};
static struct CUstream_st stream, other;
static CUgraph graph;

static void run(int times) {
    for (; times > 0; times--) CHECK(launch(&brief, &stream) == CUDA_SUCCESS);
    synchronize(&stream);
}
/* All that was counted is billed at the latest with the next bill. */
static uint64_t billed_by(void (*act)(void)) {
    run(100);
    uint64_t before = atomic_load(&account.compute_ns);
    for (int i = 0; i < ROUNDS; i++) {
        act();
        run(20);
    }
    return (atomic_load(&account.compute_ns) - before) / brief.ns;
}
static bool only_what_ran(uint64_t billed) { return billed > ROUNDS * 18 && billed < ROUNDS * 22; }

static void record(CUstream in) {
    for (int i = 0; i < RECORDED; i++) CHECK(launch(&brief, in) == CUDA_SUCCESS);
    CHECK(gpu.touched == 0);
}

/* Launches of short work whose cost is settled, which are counted and not measured, ask the driver nothing.
 */
static void launches_ask_nothing(void) {
    for (int i = 0; i < 10; i++) run(30);
    launch(&brief, &stream); /* so that the stream is busy, and a little is counted */
    int before = gpu.asked;
    for (int i = 0; i < 100; i++) launch(&brief, &stream);
    CHECK(gpu.asked - before < 50); /* of every measurement */
    synchronize(&stream);
}

static CUresult (*begin)(void), (*end)(void);
static void capture(void) {
    CHECK(begin() == CUDA_SUCCESS);
    record(&stream);
    CHECK(end() == CUDA_SUCCESS && stream.recorded == RECORDED);
}
static void what_is_recorded_is_not_billed(void) {
    launches_ask_nothing();
    CHECK(only_what_ran(billed_by(capture)));
    launches_ask_nothing();
}

#define BEGINS_AND_ENDS(name, begin_call, end_call)                                                          \
    static CUresult begin_##name(void) { return begin_call; }                                                \
    static CUresult end_##name(void) { return end_call; }
BEGINS_AND_ENDS(old, cuStreamBeginCapture(&stream), cuStreamEndCapture(&stream, &graph))
BEGINS_AND_ENDS(old_ptsz, cuStreamBeginCapture_ptsz(&stream), cuStreamEndCapture_ptsz(&stream, &graph))
BEGINS_AND_ENDS(usual, cuStreamBeginCapture_v2(&stream, 0), cuStreamEndCapture(&stream, &graph))
BEGINS_AND_ENDS(usual_ptsz, cuStreamBeginCapture_v2_ptsz(&stream, 0),
                cuStreamEndCapture_ptsz(&stream, &graph))
BEGINS_AND_ENDS(to_graph, cuStreamBeginCaptureToGraph(&stream, graph, NULL, NULL, 0, 0),
                cuStreamEndCapture(&stream, &graph))
BEGINS_AND_ENDS(to_graph_ptsz, cuStreamBeginCaptureToGraph_ptsz(&stream, graph, NULL, NULL, 0, 0),
                cuStreamEndCapture_ptsz(&stream, &graph))
BEGINS_AND_ENDS(again, cuStreamBeginRecaptureToGraph(&stream, 0, graph, NULL, NULL),
                cuStreamEndCapture(&stream, &graph))
BEGINS_AND_ENDS(again_ptsz, cuStreamBeginRecaptureToGraph_ptsz(&stream, 0, graph, NULL, NULL),
                cuStreamEndCapture_ptsz(&stream, &graph))

static void two_captures_at_once(void) {
    CHECK(cuStreamBeginCapture_v2(&stream, 0) == CUDA_SUCCESS);
    CHECK(cuStreamBeginCapture_v2(&other, 0) == CUDA_SUCCESS);
    CHECK(cuStreamEndCapture(&stream, &graph) == CUDA_SUCCESS);
    record(&other);
    CHECK(cuStreamEndCapture(&other, &graph) == CUDA_SUCCESS);
}
static void an_end_that_is_out_of_place_ends_nothing(void) {
    CHECK(cuStreamBeginCapture_v2(&stream, 0) == CUDA_SUCCESS);
    CHECK(cuStreamEndCapture(&other, &graph) == CUDA_ERROR_ILLEGAL_STATE);
    record(&stream);
    CHECK(cuStreamEndCapture(&stream, &graph) == CUDA_SUCCESS);
}
static void captures_beside_each_other_are_told_apart(void) {
    CHECK(only_what_ran(billed_by(two_captures_at_once)));
    CHECK(only_what_ran(billed_by(an_end_that_is_out_of_place_ends_nothing)));
    launches_ask_nothing();
}
static void a_capture_that_was_refused_never_began_and_one_that_became_invalid_has_ended(void) {
    gpu.refuses = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    CHECK(cuStreamBeginCapture_v2(&stream, 0) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    gpu.refuses = CUDA_SUCCESS;
    launches_ask_nothing();
    const CUresult invalid[] = {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, CUDA_ERROR_STREAM_CAPTURE_UNJOINED};
    for (int i = 0; i < 2; i++) {
        CHECK(cuStreamBeginCapture_v2(&stream, 0) == CUDA_SUCCESS);
        gpu.refuses = invalid[i];
        CHECK(cuStreamEndCapture(&stream, &graph) == invalid[i]);
        gpu.refuses = CUDA_SUCCESS;
        launches_ask_nothing();
    }
}
static void long_work_that_is_recorded_is_not_measured(void) {
    struct CUfunc_st lengthy = {40000000};
    CHECK(cuStreamBeginCapture_v2(&stream, 0) == CUDA_SUCCESS);
    for (int i = 0; i < RECORDED; i++) CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS);
    CHECK(cuStreamEndCapture(&stream, &graph) == CUDA_SUCCESS);
    CHECK(stream.recorded == RECORDED && gpu.touched == 0 && atomic_load(&account.compute_ns) == 0);
}

void test_captures(void) {
#define WITH(name)                                                                                           \
    begin = begin_##name, end = end_##name;                                                                  \
    with_cores(100, what_is_recorded_is_not_billed)
    WITH(old);
    WITH(old_ptsz);
    WITH(usual);
    WITH(usual_ptsz);
    WITH(to_graph);
    WITH(to_graph_ptsz);
    WITH(again);
    WITH(again_ptsz);
    with_cores(100, captures_beside_each_other_are_told_apart);
    with_cores(100, a_capture_that_was_refused_never_began_and_one_that_became_invalid_has_ended);
    with_cores(10, long_work_that_is_recorded_is_not_measured);
}
