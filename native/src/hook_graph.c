/*
 * Allocation nodes of graphs, added by hand or captured from stream-ordered allocations. The driver takes
 * their memory at the latest when the executable graph is launched. So all nodes of a graph are charged when
 * it is made executable. Graphs that share memory because they never run at once are charged as if they did
 * not: the driver changes what they share at any time of a launch.
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

/* What a node allocates. Nodes whose memory is never needed at once have the same addresses, so that is
 * counted once: captured work of a program may allocate and free the card's memory many times over. */
typedef struct {
    CUdevice device;
    uint64_t start, end;
} range;

typedef struct {
    range *each;
    size_t count, room;
    uint64_t elsewhere; /* for a driver that tells no addresses: each has its own */
} ranges;

static bool add_range(ranges *all, CUdevice device, uint64_t start, uint64_t size) {
    if (all->count == all->room) {
        size_t room = all->room ? 2 * all->room : 64;
        range *larger = realloc(all->each, room * sizeof *larger);
        if (!larger) return false;
        all->each = larger;
        all->room = room;
    }
    if (!start) start = all->elsewhere, all->elsewhere += size;
    all->each[all->count++] = (range){device, start, start + size};
    return true;
}

static int compare(const void *a, const void *b) {
    const range *one = a, *other = b;
    if (one->device != other->device) return one->device < other->device ? -1 : 1;
    return one->start < other->start ? -1 : one->start > other->start;
}

/* What they cover on each card; ends with them. */
static void add_up(ranges *all, uint64_t bytes[MOST_DEVICES]) {
    uint64_t covered = 0;
    if (all->count) qsort(all->each, all->count, sizeof *all->each, compare);
    for (size_t i = 0; i < all->count; i++) {
        const range *each = &all->each[i];
        if (i > 0 && each->device != each[-1].device) covered = 0;
        if (covered < each->start) covered = each->start;
        if (covered < each->end) {
            bytes[each->device] += each->end - covered;
            covered = each->end;
        }
    }
    free(all->each);
}

/* What the nodes of a graph and of the graphs within it allocate. False without host memory for it. */
static bool add_nodes(CUgraph graph, ranges *all) {
    CUresult (*get_nodes)(CUgraph, CUgraphNode *, size_t *) = driver_function("cuGraphGetNodes");
    CUresult (*get_type)(CUgraphNode, int *) = driver_function("cuGraphNodeGetType");
    CUresult (*get_params)(CUgraphNode, CUDA_MEM_ALLOC_NODE_PARAMS *) =
        driver_function("cuGraphMemAllocNodeGetParams");
    CUresult (*get_child)(CUgraphNode, CUgraph *) = driver_function("cuGraphChildGraphNodeGetGraph");
    size_t count = 0;
    if (!get_nodes || !get_type || get_nodes(graph, NULL, &count) != CUDA_SUCCESS || count == 0) return true;
    CUgraphNode *nodes = calloc(count, sizeof *nodes);
    bool well = nodes && get_nodes(graph, nodes, &count) == CUDA_SUCCESS;
    for (size_t i = 0; i < count && well; i++) {
        int type = -1;
        CUgraph child;
        CUDA_MEM_ALLOC_NODE_PARAMS params;
        if (get_type(nodes[i], &type) != CUDA_SUCCESS) continue;
        if (type == CU_GRAPH_NODE_TYPE_GRAPH && get_child && get_child(nodes[i], &child) == CUDA_SUCCESS)
            well = add_nodes(child, all);
        if (type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && get_params &&
            get_params(nodes[i], &params) == CUDA_SUCCESS) {
            CUdevice device = device_of_node(&params.poolProps);
            if (device >= 0 && device < MOST_DEVICES)
                well = add_range(all, device, params.dptr, in_pages(params.bytesize));
        }
    }
    free(nodes);
    return well;
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
        if (cards_are_free()) return real(__VA_ARGS__);                                                      \
        uint64_t bytes[MOST_DEVICES] = {0};                                                                  \
        request asked[MOST_DEVICES] = {0};                                                                   \
        ranges allocated = {0};                                                                              \
        bool well = add_nodes(graph, &allocated);                                                            \
        add_up(&allocated, bytes);                                                                           \
        if (!well || !reserve_all(bytes, asked)) return CUDA_ERROR_OUT_OF_MEMORY;                            \
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
