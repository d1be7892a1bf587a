/* Graphs: what a captured stream queued, or kernel nodes added by hand; a launch queues it all again. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cuda_memory.h"

enum { NODES = 4096 };

struct CUgraphNode_st {
    uint64_t cost;
    sim_done *done;
    void *argument;
    int type;
    CUDA_MEM_ALLOC_NODE_PARAMS allocation; /* of an allocating node */
    bool freed, again; /* by a later node; and at the address of an earlier one that was freed before */
};
struct CUgraph_st {
    size_t count;
    struct CUgraphNode_st node[NODES];
};
struct CUgraphExec_st {
    uint64_t memory[SIM_MAX_GPUS]; /* that its nodes allocate; taken at the first launch */
    bool launched;
    struct CUgraph_st graph;
};

CUresult cuda_capture(CUgraph graph, uint64_t cost, sim_done *done, void *argument) {
    if (graph->count == NODES) return CUDA_ERROR_OUT_OF_MEMORY;
    graph->node[graph->count++] = (struct CUgraphNode_st){.cost = cost, .done = done, .argument = argument};
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
    memset(*executable, 0, offsetof(struct CUgraphExec_st, graph));
    (*executable)->graph = *graph;
    for (size_t i = 0; i < graph->count; i++)
        if (graph->node[i].type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && !graph->node[i].again)
            (*executable)->memory[graph->node[i].allocation.poolProps.location.id] +=
                cuda_rounded(graph->node[i].allocation.bytesize);
    return CUDA_SUCCESS;
}

/* Memory of graphs is kept for the next one when an executable graph is destroyed, until it is trimmed. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static CUresult take_locked(CUgraphExec executable) {
    for (int i = 0; i < cuda.devices && !executable->launched; i++) {
        struct cuda_device *d = &cuda.device[i];
        uint64_t wanted = d->graph_used + executable->memory[i];
        if (wanted > d->graph_reserved) {
            if (cuda_take(i, wanted - d->graph_reserved) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
            d->graph_reserved = wanted;
        }
        d->graph_used = wanted;
    }
    executable->launched = true;
    return CUDA_SUCCESS;
}
static CUresult take_memory(CUgraphExec executable) {
    pthread_mutex_lock(&mutex);
    CUresult result = take_locked(executable);
    pthread_mutex_unlock(&mutex);
    return result;
}
CUDA_API CUresult cuDeviceGraphMemTrim(CUdevice device) {
    CUDA_ENTER(true);
    struct cuda_device *d = cuda_device(device);
    if (!d) return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&mutex);
    cuda_give(device, d->graph_reserved - d->graph_used);
    d->graph_reserved = d->graph_used;
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuDeviceGetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attribute, void *value) {
    CUDA_ENTER(value);
    struct cuda_device *d = cuda_device(device);
    if (!d) return CUDA_ERROR_INVALID_DEVICE;
    *(uint64_t *)value =
        attribute >= CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT ? d->graph_reserved : d->graph_used;
    return CUDA_SUCCESS;
}

/* As CUDA does: what is freed within the graph lends its address to what is allocated after it. */
static CUgraphNode freed_before(CUgraph graph, const CUDA_MEM_ALLOC_NODE_PARAMS *params) {
    for (CUgraphNode each = graph->node; each < graph->node + graph->count; each++)
        if (each->freed && each->allocation.poolProps.location.id == params->poolProps.location.id &&
            each->allocation.bytesize >= params->bytesize)
            return each;
    return NULL;
}

static CUresult add_allocation(CUgraphNode *node, CUgraph graph, CUDA_MEM_ALLOC_NODE_PARAMS *params) {
    CUDA_ENTER(graph && params && params->bytesize &&
               params->poolProps.location.type == CU_MEM_LOCATION_TYPE_DEVICE);
    if (!cuda_device(params->poolProps.location.id)) return CUDA_ERROR_INVALID_DEVICE;
    CUgraphNode before = freed_before(graph, params), added = &graph->node[graph->count];
    void *range = before ? (void *)(uintptr_t)before->allocation.dptr
                         : mmap(NULL, cuda_rounded(params->bytesize), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = cuda_capture(graph, 0, NULL, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (before) before->freed = false;
    added->again = before;
    params->dptr = (uintptr_t)range;
    added->type = CU_GRAPH_NODE_TYPE_MEM_ALLOC;
    added->allocation = *params;
    if (node) *node = added;
    return CUDA_SUCCESS;
}
CUresult cuda_capture_allocation(CUgraph graph, CUdevice device, size_t size, CUdeviceptr *pointer) {
    CUDA_MEM_ALLOC_NODE_PARAMS params = {.bytesize = size,
                                         .poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
    CUresult result = add_allocation(NULL, graph, &params);
    *pointer = params.dptr;
    return result;
}
CUresult cuda_capture_free(CUgraph graph, CUdeviceptr pointer) {
    CUgraphNode added = &graph->node[graph->count];
    CUresult result = pointer ? cuda_capture(graph, 0, NULL, NULL) : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS) return result;
    added->type = CU_GRAPH_NODE_TYPE_MEM_FREE;
    for (CUgraphNode each = added - 1; each >= graph->node; each--)
        if (each->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && each->allocation.dptr == pointer)
            return each->freed = true, CUDA_SUCCESS;
    return CUDA_SUCCESS; /* of another graph */
}
CUDA_API CUresult cuGraphAddMemAllocNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *before,
                                         size_t count, CUDA_MEM_ALLOC_NODE_PARAMS *params) {
    (void)before, (void)count;
    return add_allocation(node, graph, params);
}
CUDA_API CUresult cuGraphAddMemFreeNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *before,
                                        size_t count, CUdeviceptr pointer) {
    (void)before, (void)count;
    CUDA_ENTER(node && graph);
    *node = &graph->node[graph->count];
    return cuda_capture_free(graph, pointer);
}
CUDA_API CUresult cuGraphMemAllocNodeGetParams(CUgraphNode node, CUDA_MEM_ALLOC_NODE_PARAMS *params) {
    CUDA_ENTER(node && params && node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC);
    *params = node->allocation;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuGraphNodeGetType(CUgraphNode node, int *type) {
    CUDA_ENTER(node && type);
    *type = node->type;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuGraphInstantiate_v2(CUgraphExec *executable, CUgraph graph, CUgraphNode *node, char *log,
                                        size_t size) {
    (void)node, (void)log, (void)size;
    return instantiate(executable, graph);
}
CUDA_API CUresult cuGraphInstantiate(CUgraphExec *executable, CUgraph graph, CUgraphNode *node, char *log,
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
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < cuda.devices && executable->launched; i++)
        cuda.device[i].graph_used -= executable->memory[i];
    pthread_mutex_unlock(&mutex);
    free(executable);
    return CUDA_SUCCESS;
}

static CUresult on_cuGraphLaunch(CUgraphExec executable, CUstream stream) {
    if (!executable) return CUDA_ERROR_INVALID_HANDLE;
    CUresult taken = take_memory(executable);
    if (taken != CUDA_SUCCESS) return taken;
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
    stream->capture = graph;
    return CUDA_SUCCESS;
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
