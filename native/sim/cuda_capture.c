/* Streams in capture: what is queued there becomes a graph, or part of one, in the order of submission. */
#include <stddef.h>
#include <stdint.h>

#include "cuda_core.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static CUstream captured; /* all streams that are in a capture */
static uint64_t captures; /* that were ever begun */

static void add(CUstream stream, CUgraph graph, uint64_t number, bool joined) {
    stream->capture = graph, stream->capture_number = number, stream->joined = joined;
    stream->captures = captured, captured = stream;
}

uint64_t cuda_capture_number(CUstream stream) { return stream->capture ? stream->capture_number : 0; }

bool cuda_capture_wait(CUstream stream, uint64_t number) {
    pthread_mutex_lock(&mutex);
    CUstream in = captured;
    while (in && in->capture_number != number) in = in->captures;
    if (in && !stream->capture) add(stream, in->capture, number, true);
    pthread_mutex_unlock(&mutex);
    return in;
}

static void remove_where(CUstream stream, uint64_t number) {
    pthread_mutex_lock(&mutex);
    for (CUstream *link = &captured; *link;)
        if (*link == stream || (*link)->capture_number == number)
            (*link)->capture = NULL, *link = (*link)->captures;
        else
            link = &(*link)->captures;
    pthread_mutex_unlock(&mutex);
}

void cuda_capture_forget(CUstream stream) { remove_where(stream, 0); }

static CUresult begin(CUstream stream, CUgraph graph) {
    pthread_mutex_lock(&mutex);
    add(stream, graph, ++captures, false);
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}

static CUresult on_cuStreamBeginCapture_v2(CUstreamCaptureMode mode, CUstream stream) {
    (void)mode;
    if (stream == &stream->context->legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    CUgraph graph;
    CUresult result = cuGraphCreate(&graph, 0);
    return result == CUDA_SUCCESS ? begin(stream, graph) : result;
}
static CUresult on_cuStreamEndCapture(CUgraph *graph, CUstream stream) {
    if (!graph) return CUDA_ERROR_INVALID_VALUE;
    if (!stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    if (stream->joined) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    *graph = stream->capture;
    remove_where(stream, stream->capture_number);
    return CUDA_SUCCESS;
}
static CUresult on_cuStreamIsCapturing(CUstreamCaptureStatus *status, CUstream stream) {
    if (!status) return CUDA_ERROR_INVALID_VALUE;
    *status = stream->capture ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
}
/* What comes next depends on no node: operations run in the order of submission. */
static CUresult on_cuStreamGetCaptureInfo_v3(CUstreamCaptureStatus *status, unsigned long long *id,
                                             CUgraph *graph, const CUgraphNode **before, const void **edges,
                                             size_t *count, CUstream stream) {
    CUresult result = on_cuStreamIsCapturing(status, stream);
    if (result != CUDA_SUCCESS || !stream->capture) return result;
    if (id) *id = (uintptr_t)stream->capture;
    if (graph) *graph = stream->capture;
    if (before) *before = NULL;
    if (edges) *edges = NULL;
    if (count) *count = 0;
    return CUDA_SUCCESS;
}
static CUresult on_cuStreamGetCaptureInfo_v2(CUstreamCaptureStatus *status, unsigned long long *id,
                                             CUgraph *graph, const CUgraphNode **before, size_t *count,
                                             CUstream stream) {
    return on_cuStreamGetCaptureInfo_v3(status, id, graph, before, NULL, count, stream);
}
static CUresult on_cuStreamBeginCapture(CUstream stream) {
    return on_cuStreamBeginCapture_v2(CU_STREAM_CAPTURE_MODE_GLOBAL, stream);
}
/* What is captured is added to a graph of the program's. */
static CUresult on_cuStreamBeginCaptureToGraph(CUgraph graph, const CUgraphNode *before, const void *edges,
                                               size_t count, CUstreamCaptureMode mode, CUstream stream) {
    (void)before, (void)edges, (void)count, (void)mode;
    if (!graph) return CUDA_ERROR_INVALID_VALUE;
    if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    return begin(stream, graph);
}
CUDA_API CUresult cuStreamBeginCapture(CUstream stream) {
    CUDA_ENTER(true);
    CUstream resolved = cuda_stream(stream, false);
    return resolved ? on_cuStreamBeginCapture(resolved) : CUDA_ERROR_INVALID_CONTEXT;
}
CUDA_API CUresult cuStreamBeginCapture_ptsz(CUstream stream) {
    CUDA_ENTER(true);
    CUstream resolved = cuda_stream(stream, true);
    return resolved ? on_cuStreamBeginCapture(resolved) : CUDA_ERROR_INVALID_CONTEXT;
}
CUDA_BOTH(cuStreamBeginCaptureToGraph, _ptsz,
          (CUstream stream, CUgraph graph, const CUgraphNode *before, const void *edges, size_t count,
           CUstreamCaptureMode mode),
          stream, graph, before, edges, count, mode)
CUDA_BOTH(cuStreamBeginCapture_v2, _ptsz, (CUstream stream, CUstreamCaptureMode mode), stream, mode)
CUDA_BOTH(cuStreamEndCapture, _ptsz, (CUstream stream, CUgraph *graph), stream, graph)
CUDA_BOTH(cuStreamIsCapturing, _ptsz, (CUstream stream, CUstreamCaptureStatus *status), stream, status)
CUDA_BOTH(cuStreamGetCaptureInfo_v2, _ptsz,
          (CUstream stream, CUstreamCaptureStatus *status, unsigned long long *id, CUgraph *graph,
           const CUgraphNode **before, size_t *count),
          stream, status, id, graph, before, count)
CUDA_BOTH(cuStreamGetCaptureInfo_v3, _ptsz,
          (CUstream stream, CUstreamCaptureStatus *status, unsigned long long *id, CUgraph *graph,
           const CUgraphNode **before, const void **edges, size_t *count),
          stream, status, id, graph, before, edges, count)
CUDA_API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    CUDA_ENTER(mode);
    *mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    return CUDA_SUCCESS;
}
