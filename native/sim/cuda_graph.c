/* Graphs: what a captured stream queued, or kernel nodes added by hand; a launch queues it all again. */
#include <stdlib.h>

#include "cuda_core.h"

enum { NODES = 4096 };

struct CUgraphNode_st {
    uint64_t cost;
    sim_done *done;
    void *argument;
};
struct CUgraph_st {
    size_t count;
    struct CUgraphNode_st node[NODES];
};
struct CUgraphExec_st {
    struct CUgraph_st graph;
};

CUresult cuda_capture(CUgraph graph, uint64_t cost, sim_done *done, void *argument) {
    if (graph->count == NODES) return CUDA_ERROR_OUT_OF_MEMORY;
    graph->node[graph->count++] = (struct CUgraphNode_st){cost, done, argument};
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuGraphCreate(CUgraph *graph, unsigned flags) {
    CUDA_ENTER(graph && flags == 0);
    *graph = calloc(1, sizeof **graph);
    return *graph ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUDA_API CUresult cuGraphDestroy(CUgraph graph) {
    CUDA_ENTER(graph);
    free(graph);
    return CUDA_SUCCESS;
}

static CUresult add_kernel(CUgraphNode *node, CUgraph graph, CUfunction function, void **parameters,
                           void **extra) {
    CUDA_ENTER(node && graph && function);
    *node = &graph->node[graph->count];
    return cuda_capture(graph, cuda_kernel_cost(function, parameters, extra), NULL, NULL);
}
CUDA_API CUresult cuGraphAddKernelNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *before,
                                       size_t count, const CUDA_KERNEL_NODE_PARAMS_v1 *p) {
    (void)before, (void)count;
    return p ? add_kernel(node, graph, p->func, p->kernelParams, p->extra) : CUDA_ERROR_INVALID_VALUE;
}
CUDA_API CUresult cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *before,
                                          size_t count, const CUDA_KERNEL_NODE_PARAMS *p) {
    (void)before, (void)count;
    return p ? add_kernel(node, graph, p->func, p->kernelParams, p->extra) : CUDA_ERROR_INVALID_VALUE;
}
CUDA_API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
    CUDA_ENTER(graph && count);
    for (size_t i = 0; nodes && i < *count && i < graph->count; i++) nodes[i] = &graph->node[i];
    *count = graph->count;
    return CUDA_SUCCESS;
}

static CUresult instantiate(CUgraphExec *executable, CUgraph graph) {
    CUDA_ENTER(executable && graph);
    *executable = malloc(sizeof **executable);
    if (!*executable) return CUDA_ERROR_OUT_OF_MEMORY;
    (*executable)->graph = *graph;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuGraphInstantiate_v2(CUgraphExec *executable, CUgraph graph, CUgraphNode *node, char *log,
                                        size_t size) {
    (void)node, (void)log, (void)size;
    return instantiate(executable, graph);
}
CUDA_API CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph,
                                              unsigned long long flags) {
    (void)flags;
    return instantiate(executable, graph);
}
static CUresult on_cuGraphInstantiateWithParams(CUgraphExec *executable, CUgraph graph,
                                                CUDA_GRAPH_INSTANTIATE_PARAMS *params, CUstream stream) {
    (void)stream;
    if (params) params->result_out = 0;
    return instantiate(executable, graph);
}
CUDA_BOTH(cuGraphInstantiateWithParams, _ptsz,
          (CUgraphExec * executable, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params),
          params ? params->hUploadStream : NULL, executable, graph, params)
CUDA_API CUresult cuGraphExecDestroy(CUgraphExec executable) {
    CUDA_ENTER(executable);
    free(executable);
    return CUDA_SUCCESS;
}

static CUresult on_cuGraphLaunch(CUgraphExec executable, CUstream stream) {
    if (!executable) return CUDA_ERROR_INVALID_HANDLE;
    for (size_t i = 0; i < executable->graph.count; i++) {
        const struct CUgraphNode_st *n = &executable->graph.node[i];
        cuda_submit(stream, n->cost, n->done, n->argument);
    }
    return CUDA_SUCCESS;
}
static CUresult on_cuGraphUpload(CUgraphExec executable, CUstream stream) {
    (void)stream;
    return executable ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUDA_BOTH(cuGraphLaunch, _ptsz, (CUgraphExec executable, CUstream stream), stream, executable)
CUDA_BOTH(cuGraphUpload, _ptsz, (CUgraphExec executable, CUstream stream), stream, executable)

static CUresult on_cuStreamBeginCapture_v2(CUstreamCaptureMode mode, CUstream stream) {
    (void)mode;
    if (stream == &stream->context->legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    return cuGraphCreate(&stream->capture, 0);
}
static CUresult on_cuStreamEndCapture(CUgraph *graph, CUstream stream) {
    if (!graph) return CUDA_ERROR_INVALID_VALUE;
    if (!stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    *graph = stream->capture;
    stream->capture = NULL;
    return CUDA_SUCCESS;
}
static CUresult on_cuStreamIsCapturing(CUstreamCaptureStatus *status, CUstream stream) {
    if (!status) return CUDA_ERROR_INVALID_VALUE;
    *status = stream->capture ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
}
CUDA_BOTH(cuStreamBeginCapture_v2, _ptsz, (CUstream stream, CUstreamCaptureMode mode), stream, mode)
CUDA_BOTH(cuStreamEndCapture, _ptsz, (CUstream stream, CUgraph *graph), stream, graph)
CUDA_BOTH(cuStreamIsCapturing, _ptsz, (CUstream stream, CUstreamCaptureStatus *status), stream, status)
CUDA_API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    CUDA_ENTER(mode);
    *mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    return CUDA_SUCCESS;
}
