/* Graphs: what a captured stream queued, or nodes added by hand; a launch queues it all again. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cuda_graph_memory.h"
#include "cuda_memory.h"

enum { NODES = 4096 };

struct CUgraphNode_st {
    struct sim_work work;
    int type;
    CUDA_MEM_ALLOC_NODE_PARAMS allocation; /* of an allocating node; a freeing one has its address */
    CUgraph child;
    bool freed; /* by a later node, */
    bool lent;  /* and its address given to another, */
    bool again; /* which has it */
};
struct CUgraph_st {
    size_t count;
    struct CUgraphNode_st node[NODES];
};
struct CUgraphExec_st {
    struct cuda_graph_memory memory;
    struct CUgraph_st graph;
};

CUresult cuda_capture(CUgraph graph, struct sim_work work) {
    if (graph->count == NODES) return CUDA_ERROR_OUT_OF_MEMORY;
    graph->node[graph->count++] = (struct CUgraphNode_st){.work = work};
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

static CUresult add_kernel(CUgraphNode *node, CUgraph graph, CUfunction function, uint64_t blocks,
                           uint64_t threads, void **parameters, void **extra) {
    CUDA_ENTER_CONTEXT(context, node && graph && function);
    *node = &graph->node[graph->count];
    return cuda_capture(graph,
                        cuda_kernel_work(context->device, function, blocks, threads, parameters, extra));
}
CUDA_API CUresult cuGraphAddKernelNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *before,
                                       size_t count, const CUDA_KERNEL_NODE_PARAMS_v1 *p) {
    (void)before, (void)count;
    if (!p) return CUDA_ERROR_INVALID_VALUE;
    return add_kernel(node, graph, p->func, (uint64_t)p->gridDimX * p->gridDimY * p->gridDimZ,
                      (uint64_t)p->blockDimX * p->blockDimY * p->blockDimZ, p->kernelParams, p->extra);
}
CUDA_API CUresult cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *before,
                                          size_t count, const CUDA_KERNEL_NODE_PARAMS *p) {
    (void)before, (void)count;
    if (!p) return CUDA_ERROR_INVALID_VALUE;
    return add_kernel(node, graph, p->func, (uint64_t)p->gridDimX * p->gridDimY * p->gridDimZ,
                      (uint64_t)p->blockDimX * p->blockDimY * p->blockDimZ, p->kernelParams, p->extra);
}
CUDA_API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
    CUDA_ENTER(graph && count);
    for (size_t i = 0; nodes && i < *count && i < graph->count; i++) nodes[i] = &graph->node[i];
    *count = graph->count;
    return CUDA_SUCCESS;
}

/* The child becomes the graph's own, as it must where it allocates. */
CUDA_API CUresult cuGraphAddChildGraphNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *before,
                                           size_t count, CUgraph child) {
    (void)before, (void)count;
    CUDA_ENTER(node && graph && child);
    *node = &graph->node[graph->count];
    CUresult result = cuda_capture(graph, (struct sim_work){0});
    if (result == CUDA_SUCCESS) (*node)->type = CU_GRAPH_NODE_TYPE_GRAPH, (*node)->child = child;
    return result;
}
CUDA_API CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode node, CUgraph *child) {
    CUDA_ENTER(node && child && node->child);
    *child = node->child;
    return CUDA_SUCCESS;
}

static void add_memory(CUgraphExec executable, CUgraph graph) {
    for (CUgraphNode each = graph->node; each < graph->node + graph->count; each++) {
        if (each->child) add_memory(executable, each->child);
        if (each->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && !each->again)
            executable->memory.bytes[each->allocation.poolProps.location.id] +=
                cuda_rounded(each->allocation.bytesize);
    }
}
static CUresult instantiate(CUgraphExec *executable, CUgraph graph) {
    CUDA_ENTER(executable && graph);
    *executable = malloc(sizeof **executable);
    if (!*executable) return CUDA_ERROR_OUT_OF_MEMORY;
    memset(*executable, 0, offsetof(struct CUgraphExec_st, graph));
    (*executable)->graph = *graph;
    add_memory(*executable, graph);
    return CUDA_SUCCESS;
}

/* As CUDA does: what is freed within the graph lends its address to what is allocated after it. */
static CUgraphNode freed_before(CUgraph graph, const CUDA_MEM_ALLOC_NODE_PARAMS *params) {
    for (CUgraphNode each = graph->node; each < graph->node + graph->count; each++)
        if (each->freed && !each->lent &&
            each->allocation.poolProps.location.id == params->poolProps.location.id &&
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
    CUresult result = cuda_capture(graph, (struct sim_work){0});
    if (result != CUDA_SUCCESS) return result;
    if (before) before->lent = true;
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
    CUresult result = pointer ? cuda_capture(graph, (struct sim_work){0}) : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS) return result;
    added->type = CU_GRAPH_NODE_TYPE_MEM_FREE;
    added->allocation.dptr = pointer;
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
CUDA_API CUresult cuGraphMemFreeNodeGetParams(CUgraphNode node, CUdeviceptr *pointer) {
    CUDA_ENTER(node && pointer && node->type == CU_GRAPH_NODE_TYPE_MEM_FREE);
    *pointer = node->allocation.dptr;
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
    cuda_graph_end(&executable->memory);
    free(executable);
    return CUDA_SUCCESS;
}

/* What a launch leaves allocated, and what it frees of others. */
static void note(const struct CUgraph_st *graph, struct cuda_graph_memory *memory) {
    for (const struct CUgraphNode_st *each = graph->node; each < graph->node + graph->count; each++) {
        const CUDA_MEM_ALLOC_NODE_PARAMS *what = &each->allocation;
        if (each->child) note(each->child, memory);
        if (each->type == CU_GRAPH_NODE_TYPE_MEM_FREE) cuda_graph_free(what->dptr);
        if (each->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && !each->freed)
            cuda_graph_lives(memory, what->poolProps.location.id, what->dptr, cuda_rounded(what->bytesize));
    }
}

static void submit(const struct CUgraph_st *graph, CUstream stream) {
    for (const struct CUgraphNode_st *each = graph->node; each < graph->node + graph->count; each++)
        if (each->child)
            submit(each->child, stream);
        else
            cuda_submit(stream, each->work);
}
static CUresult on_cuGraphLaunch(CUgraphExec executable, CUstream stream) {
    if (!executable) return CUDA_ERROR_INVALID_HANDLE;
    CUresult taken = cuda_graph_take(&executable->memory);
    if (taken != CUDA_SUCCESS) return taken;
    note(&executable->graph, &executable->memory);
    submit(&executable->graph, stream);
    return CUDA_SUCCESS;
}
static CUresult on_cuGraphUpload(CUgraphExec executable, CUstream stream) {
    (void)stream;
    return executable ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUDA_BOTH(cuGraphLaunch, _ptsz, (CUgraphExec executable, CUstream stream), stream, executable)
CUDA_BOTH(cuGraphUpload, _ptsz, (CUgraphExec executable, CUstream stream), stream, executable)
