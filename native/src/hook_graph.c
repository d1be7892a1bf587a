/*
 * Allocation nodes of graphs, added by hand or captured from stream-ordered allocations. The driver takes
 * their memory at the latest when the executable graph is launched. So all nodes of a graph are charged when
 * it is made executable. Graphs that share memory because they never run at once are charged as if they did
 * not.
 */
#include <stdlib.h>

#include "allocation.h"
#include "graph_memory.h"

/* Managed memory that names no card is the current one's, as it is of pools. */
static CUdevice device_of_node(const CUmemPoolProps *memory) {
    CUresult (*current)(CUdevice *) = driver_function("cuCtxGetDevice");
    CUdevice device = device_at(&memory->location);
    if (device < 0 && memory->allocType == CU_MEM_ALLOCATION_TYPE_MANAGED && current) current(&device);
    return device;
}

/* Bytes that the nodes of a graph and of the graphs within it allocate on each card. */
static void add_nodes(CUgraph graph, uint64_t bytes[MOST_DEVICES]) {
    CUresult (*get_nodes)(CUgraph, CUgraphNode *, size_t *) = driver_function("cuGraphGetNodes");
    CUresult (*get_type)(CUgraphNode, int *) = driver_function("cuGraphNodeGetType");
    CUresult (*get_params)(CUgraphNode, CUDA_MEM_ALLOC_NODE_PARAMS *) =
        driver_function("cuGraphMemAllocNodeGetParams");
    CUresult (*get_child)(CUgraphNode, CUgraph *) = driver_function("cuGraphChildGraphNodeGetGraph");
    size_t count = 0;
    if (!get_nodes || !get_type || get_nodes(graph, NULL, &count) != CUDA_SUCCESS || count == 0) return;
    CUgraphNode *nodes = calloc(count, sizeof *nodes);
    if (!nodes || get_nodes(graph, nodes, &count) != CUDA_SUCCESS) count = 0;
    for (size_t i = 0; i < count; i++) {
        int type = -1;
        CUgraph child;
        CUDA_MEM_ALLOC_NODE_PARAMS params;
        if (get_type(nodes[i], &type) != CUDA_SUCCESS) continue;
        if (type == CU_GRAPH_NODE_TYPE_GRAPH && get_child && get_child(nodes[i], &child) == CUDA_SUCCESS)
            add_nodes(child, bytes);
        if (type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && get_params &&
            get_params(nodes[i], &params) == CUDA_SUCCESS) {
            CUdevice device = device_of_node(&params.poolProps);
            if (device >= 0 && device < MOST_DEVICES) bytes[device] += in_pages(params.bytesize);
        }
    }
    free(nodes);
}

/* What was reserved for an executable graph, by card; keys of one graph differ in the low bits of its
 * address. */
static bool reserve_all(const uint64_t bytes[MOST_DEVICES], request asked[MOST_DEVICES]) {
    for (int device = 0; device < MOST_DEVICES; device++) {
        if (!bytes[device]) continue;
        asked[device] = request_on(device);
        if (ask(&asked[device], in_pages(bytes[device]))) continue;
        while (--device >= 0) settle(&asked[device], CUDA_ERROR_OUT_OF_MEMORY, CHARGE_GRAPH, 0);
        return false;
    }
    return true;
}

static void settle_all(CUresult result, CUgraphExec executable, request asked[MOST_DEVICES]) {
    graphs_lock();
    for (int device = 0; device < MOST_DEVICES; device++) {
        if (result == CUDA_SUCCESS) graphs_began(device, charge_bytes(&asked[device].own.taken));
        settle(&asked[device], result, CHARGE_GRAPH, (uint64_t)executable + (uint64_t)device);
    }
    graphs_unlock();
}

#define INSTANTIATE(symbol, ...)                                                                             \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        uint64_t bytes[MOST_DEVICES] = {0};                                                                  \
        request asked[MOST_DEVICES] = {0};                                                                   \
        add_nodes(graph, bytes);                                                                             \
        if (!reserve_all(bytes, asked)) return CUDA_ERROR_OUT_OF_MEMORY;                                     \
        CUresult result = real(__VA_ARGS__);                                                                 \
        settle_all(result, result == CUDA_SUCCESS ? *executable : NULL, asked);                              \
        return result;                                                                                       \
    } while (0)

CUresult cuGraphInstantiate(CUgraphExec *executable, CUgraph graph, CUgraphNode *node, char *log,
                            size_t size) {
    INSTANTIATE(cuGraphInstantiate, executable, graph, node, log, size);
}

CUresult cuGraphInstantiate_v2(CUgraphExec *executable, CUgraph graph, CUgraphNode *node, char *log,
                               size_t size) {
    INSTANTIATE(cuGraphInstantiate_v2, executable, graph, node, log, size);
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long flags) {
    INSTANTIATE(cuGraphInstantiateWithFlags, executable, graph, flags);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec *executable, CUgraph graph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS *params) {
    INSTANTIATE(cuGraphInstantiateWithParams, executable, graph, params);
}

CUresult cuGraphInstantiateWithParams_ptsz(CUgraphExec *executable, CUgraph graph,
                                           CUDA_GRAPH_INSTANTIATE_PARAMS *params) {
    INSTANTIATE(cuGraphInstantiateWithParams_ptsz, executable, graph, params);
}

CUresult cuGraphExecDestroy(CUgraphExec executable) {
    cuGraphExecDestroy_type real = REAL(cuGraphExecDestroy);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    graphs_lock();
    held_charge held[MOST_DEVICES] = {0};
    for (int device = 0; device < MOST_DEVICES; device++)
        if (graphs_live(device)) held[device] = hold(CHARGE_GRAPH, (uint64_t)executable + (uint64_t)device);
    CUresult result = real(executable);
    for (int device = 0; device < MOST_DEVICES; device++) {
        if (held[device].found && result == CUDA_SUCCESS) graphs_ended(device, &held[device].what.taken);
        if (held[device].found && result != CUDA_SUCCESS)
            let_go(result, &held[device], CHARGE_GRAPH, (uint64_t)executable + (uint64_t)device);
    }
    graphs_unlock();
    return result;
}

CUresult cuDeviceGraphMemTrim(CUdevice device) {
    cuDeviceGraphMemTrim_type real = REAL(cuDeviceGraphMemTrim);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    graphs_lock();
    CUresult result = real(device);
    if (result == CUDA_SUCCESS) graphs_settle(device);
    graphs_unlock();
    return result;
}
