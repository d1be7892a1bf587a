/* Streams in capture: what they record is charged when its graph is launched, so launches look for them. */
#include "hook_capture.h"

#include <stdbool.h>

#include "hooks.h"

_Atomic int captures;

#define BEGIN_CAPTURE(symbol, ...)                                                                           \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        atomic_fetch_add(&captures, 1);                                                                      \
        CUresult result = real(__VA_ARGS__);                                                                 \
        if (result != CUDA_SUCCESS) atomic_fetch_sub(&captures, 1);                                          \
        return result;                                                                                       \
    } while (0)

/* One that began unseen was not counted. */
static void one_less(void) {
    int before = atomic_load(&captures);
    while (before > 0 && !atomic_compare_exchange_weak(&captures, &before, before - 1)) {
    }
}

/* An end that the driver refuses as out of place ends nothing. */
#define END_CAPTURE(symbol, ...)                                                                             \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        CUresult result = real(__VA_ARGS__);                                                                 \
        bool ended = result == CUDA_SUCCESS || result == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED ||            \
                     result == CUDA_ERROR_STREAM_CAPTURE_UNJOINED;                                           \
        if (ended) one_less();                                                                               \
        return result;                                                                                       \
    } while (0)

CUresult cuStreamBeginCapture(CUstream stream) { BEGIN_CAPTURE(cuStreamBeginCapture, stream); }
CUresult cuStreamBeginCapture_ptsz(CUstream stream) { BEGIN_CAPTURE(cuStreamBeginCapture_ptsz, stream); }
CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode how) {
    BEGIN_CAPTURE(cuStreamBeginCapture_v2, stream, how);
}
CUresult cuStreamBeginCapture_v2_ptsz(CUstream stream, CUstreamCaptureMode how) {
    BEGIN_CAPTURE(cuStreamBeginCapture_v2_ptsz, stream, how);
}
CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const CUgraphNode *before,
                                     const void *edges, size_t count, CUstreamCaptureMode how) {
    BEGIN_CAPTURE(cuStreamBeginCaptureToGraph, stream, graph, before, edges, count, how);
}
CUresult cuStreamBeginCaptureToGraph_ptsz(CUstream stream, CUgraph graph, const CUgraphNode *before,
                                          const void *edges, size_t count, CUstreamCaptureMode how) {
    BEGIN_CAPTURE(cuStreamBeginCaptureToGraph_ptsz, stream, graph, before, edges, count, how);
}
CUresult cuStreamBeginRecaptureToGraph(CUstream stream, CUstreamCaptureMode how, CUgraph graph, void *differs,
                                       void *data) {
    BEGIN_CAPTURE(cuStreamBeginRecaptureToGraph, stream, how, graph, differs, data);
}
CUresult cuStreamBeginRecaptureToGraph_ptsz(CUstream stream, CUstreamCaptureMode how, CUgraph graph,
                                            void *differs, void *data) {
    BEGIN_CAPTURE(cuStreamBeginRecaptureToGraph_ptsz, stream, how, graph, differs, data);
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    END_CAPTURE(cuStreamEndCapture, stream, graph);
}
CUresult cuStreamEndCapture_ptsz(CUstream stream, CUgraph *graph) {
    END_CAPTURE(cuStreamEndCapture_ptsz, stream, graph);
}
