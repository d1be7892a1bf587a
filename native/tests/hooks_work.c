/* Launches, and streams that record them instead. */
#include "hooks.h"

enum { CAPTURES_MADE = 200, RECORDED = 100, BRIEF_NS = 20000 };

/* Of a kernel of a millisecond, whichever way it is started, the share's account must come to hear. */
static void computes(CUresult (*start)(void)) {
    uint64_t before = book->compute_ns;
    double begin = seconds();
    while (book->compute_ns < before + 1000000) {
        CHECK_IT(start() == CUDA_SUCCESS && CALL(cuStreamSynchronize)(stream) == CUDA_SUCCESS);
        CHECK_IT(CALL(cuCtxSynchronize)() == CUDA_SUCCESS);
        CHECK_IT(seconds() - begin < 60);
    }
}
#define COMPUTES(symbol, ...)                                                                                \
    static CUresult start_##symbol(void) { return CALL(symbol)(__VA_ARGS__); }                               \
    void probe_##symbol(void);                                                                               \
    void probe_##symbol(void) { computes(start_##symbol); }
static CUfunction busy, brief;
static CUgraphExec busy_graph;
static CUgraph graph;
static CUlaunchConfig config = {1, 1, 1, 1, 1, 1, 0, NULL, NULL, 0};
static CUDA_LAUNCH_PARAMS *one(void) {
    static CUDA_LAUNCH_PARAMS list = {.gridDimX = 1, .gridDimY = 1, .gridDimZ = 1};
    list.blockDimX = list.blockDimY = list.blockDimZ = 1;
    list.function = busy;
    list.hStream = stream;
    return &list;
}
COMPUTES(cuLaunchKernel, busy, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL)
COMPUTES(cuLaunchKernel_ptsz, busy, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL)
COMPUTES(cuLaunchCooperativeKernel, busy, 1, 1, 1, 1, 1, 1, 0, stream, NULL)
COMPUTES(cuLaunchCooperativeKernel_ptsz, busy, 1, 1, 1, 1, 1, 1, 0, NULL, NULL)
COMPUTES(cuLaunchKernelEx, &config, busy, NULL, NULL)
COMPUTES(cuLaunchKernelEx_ptsz, &config, busy, NULL, NULL)
COMPUTES(cuLaunchCooperativeKernelMultiDevice, one(), 1, 0)
COMPUTES(cuLaunch, busy)
COMPUTES(cuLaunchGrid, busy, 1, 1)
COMPUTES(cuLaunchGridAsync, busy, 1, 1, stream)
COMPUTES(cuGraphLaunch, busy_graph, stream)
COMPUTES(cuGraphLaunch_ptsz, busy_graph, NULL)

/* Reading what was measured takes as long as it takes. */
static uint64_t settled(void) {
    uint64_t told;
    do {
        told = book->compute_ns;
        usleep(300 * 1000);
    } while (book->compute_ns != told);
    return told;
}
static void run_brief(int times) {
    for (; times > 0; times--) {
        CHECK(CALL(cuLaunchKernel)(brief, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL) == CUDA_SUCCESS);
        CHECK(CALL(cuStreamSynchronize)(stream) == CUDA_SUCCESS);
    }
}

static void capture(CUresult (*begin)(void), cuStreamEndCapture_type end) {
    CUresult (*nodes)(CUgraph, CUgraphNode *, size_t *) = found("cuGraphGetNodes");
    CUresult (*destroy)(CUgraph) = found("cuGraphDestroy");
    size_t count = 0;
    CHECK_IT(begin() == CUDA_SUCCESS);
    for (int i = 0; i < RECORDED; i++)
        CHECK_IT(CALL(cuLaunchKernel)(brief, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL) == CUDA_SUCCESS);
    CHECK_IT(end(stream, &graph) == CUDA_SUCCESS);
    CHECK_IT(nodes(graph, NULL, &count) == CUDA_SUCCESS && count == RECORDED);
    CHECK_IT(destroy(graph) == CUDA_SUCCESS);
}

/* What a stream records is neither measured nor counted: the graph has the program's nodes and no others, and
 * the next bill is not larger. A busy machine makes one of those few bills larger, but not in all tries. */
static void captures(CUresult (*begin)(void), cuStreamEndCapture_type end) {
    uint64_t billed = UINT64_MAX;
    for (int tries = 0; tries < 10 && billed > CAPTURES_MADE * 2 * BRIEF_NS; tries++) {
        run_brief(100); /* so that its cost is known */
        uint64_t before = settled();
        for (int i = 0; i < CAPTURES_MADE; i++) {
            capture(begin, end);
            run_brief(1);
        }
        billed = settled() - before;
    }
    CHECK_IT(billed <= CAPTURES_MADE * 2 * BRIEF_NS);
}
#define CAPTURES(symbol, end, ...)                                                                           \
    static CUresult begin_##symbol(void) { return CALL(symbol)(stream, ##__VA_ARGS__); }                     \
    void probe_##symbol(void);                                                                               \
    void probe_##symbol(void) { captures(begin_##symbol, CALL(end)); }
static CUgraph empty(void) {
    CUresult (*create)(CUgraph *, unsigned) = found("cuGraphCreate");
    CHECK(create(&graph, 0) == CUDA_SUCCESS);
    return graph;
}
CAPTURES(cuStreamBeginCapture, cuStreamEndCapture)
CAPTURES(cuStreamBeginCapture_ptsz, cuStreamEndCapture_ptsz)
CAPTURES(cuStreamBeginCapture_v2, cuStreamEndCapture, CU_STREAM_CAPTURE_MODE_GLOBAL)
CAPTURES(cuStreamBeginCapture_v2_ptsz, cuStreamEndCapture_ptsz, CU_STREAM_CAPTURE_MODE_GLOBAL)
CAPTURES(cuStreamBeginCaptureToGraph, cuStreamEndCapture, empty(), NULL, NULL, 0,
         CU_STREAM_CAPTURE_MODE_GLOBAL)
CAPTURES(cuStreamBeginCaptureToGraph_ptsz, cuStreamEndCapture_ptsz, empty(), NULL, NULL, 0,
         CU_STREAM_CAPTURE_MODE_GLOBAL)
SEE(cuStreamEndCapture, cuStreamBeginCapture)
SEE(cuStreamEndCapture_ptsz, cuStreamBeginCapture_ptsz)

void begin_work(void) {
    CUmodule module;
    CUresult (*set_block)(CUfunction, int, int, int) = found("cuFuncSetBlockShape");
    CHECK(CALL(cuModuleLoadData)(&module, "text") == CUDA_SUCCESS);
    CHECK(CALL(cuModuleGetFunction)(&busy, module, "busy_us_1000") == CUDA_SUCCESS);
    CHECK(CALL(cuModuleGetFunction)(&brief, module, "busy_us_20") == CUDA_SUCCESS);
    CHECK(set_block(busy, 1, 1, 1) == CUDA_SUCCESS);
    CHECK(CALL(cuStreamBeginCapture_v2)(stream, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_SUCCESS);
    CHECK(CALL(cuLaunchKernel)(busy, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL) == CUDA_SUCCESS);
    CHECK(CALL(cuStreamEndCapture)(stream, &graph) == CUDA_SUCCESS);
    CHECK(CALL(cuGraphInstantiateWithFlags)(&busy_graph, graph, 0) == CUDA_SUCCESS);
    CHECK(CALL(cuGraphLaunch)(busy_graph, stream) == CUDA_SUCCESS);
    CHECK(CALL(cuStreamSynchronize)(stream) == CUDA_SUCCESS);
}
