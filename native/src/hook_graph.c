/*
 * Allocation nodes of graphs. The driver takes their memory at the latest when the executable graph is
 * launched. So all nodes of a graph are charged when it is made executable. Graphs that share memory because
 * they never run at once are charged as if they did not: the driver changes what they share at any time of a
 * launch.
 */
#include "allocation.h"
#include "graph_nodes.h"

/* What was reserved for an executable graph, by card; keys of one graph differ in the low bits of its
 * address. */
static bool reserve_all(const uint64_t bytes[MOST_DEVICES], request asked[MOST_DEVICES]) {
    for (int device = 0; device < MOST_DEVICES; device++) {
        if (!bytes[device]) continue;
        asked[device] = request_on(device);
        if (!ask(&asked[device], in_pages(bytes[device]))) return false;
    }
    return true;
}

static void settle_all(CUresult result, CUgraphExec executable, request asked[MOST_DEVICES],
                       graph_allocation *unfreed) {
    graphs_lock();
    if (result == CUDA_SUCCESS)
        graphs_leave(executable, unfreed);
    else
        graph_allocations_drop(unfreed);
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
        if (cards_are_free()) return real(__VA_ARGS__);                                                      \
        graph_demand demand;                                                                                 \
        request asked[MOST_DEVICES] = {0};                                                                   \
        if (!graph_demand_of(graph, &demand)) return CUDA_ERROR_OUT_OF_MEMORY;                               \
        bool reserved = reserve_all(demand.bytes, asked);                                                    \
        CUresult result = reserved ? real(__VA_ARGS__) : CUDA_ERROR_OUT_OF_MEMORY;                           \
        settle_all(result, result == CUDA_SUCCESS ? *executable : NULL, asked, demand.unfreed);              \
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
    if (result == CUDA_SUCCESS) graphs_outlived(executable);
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
