/* Graphs: what a captured stream queued, or nodes added by hand; a launch queues it all again. */
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
    CUgraph child;
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

/* The child becomes the graph's own, as it must where it allocates. */
CUDA_API CUresult cuGraphAddChildGraphNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *before,
                                           size_t count, CUgraph child) {
    (void)before, (void)count;
    CUDA_ENTER(node && graph && child);
    *node = &graph->node[graph->count];
    CUresult result = cuda_capture(graph, 0, NULL, NULL);
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
            executable->memory[each->allocation.poolProps.location.id] +=
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

static void submit(const struct CUgraph_st *graph, CUstream stream) {
    for (const struct CUgraphNode_st *each = graph->node; each < graph->node + graph->count; each++)
        if (each->child)
            submit(each->child, stream);
        else
            cuda_submit(stream, each->cost, each->done, each->argument);
}
static CUresult on_cuGraphLaunch(CUgraphExec executable, CUstream stream) {
    if (!executable) return CUDA_ERROR_INVALID_HANDLE;
    CUresult taken = take_memory(executable);
    if (taken == CUDA_SUCCESS) submit(&executable->graph, stream);
    return taken;
}
static CUresult on_cuGraphUpload(CUgraphExec executable, CUstream stream) {
    (void)stream;
    return executable ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUDA_BOTH(cuGraphLaunch, _ptsz, (CUgraphExec executable, CUstream stream), stream, executable)
CUDA_BOTH(cuGraphUpload, _ptsz, (CUgraphExec executable, CUstream stream), stream, executable)
