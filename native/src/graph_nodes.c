#include "graph_nodes.h"

#include <stdlib.h>

#include "allocation.h"

/* What one node allocates, or where it frees. Nodes whose memory is never needed at once have the same
 * addresses: captured work of a program may allocate and free the card's memory many times over. */
typedef struct {
    CUdevice device;
    uint64_t start, end; /* the same of a node that frees */
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

typedef struct {
    CUresult (*nodes)(CUgraph, CUgraphNode *, size_t *);
    CUresult (*type)(CUgraphNode, int *);
    CUresult (*child)(CUgraphNode, CUgraph *);
    CUresult (*allocated)(CUgraphNode, CUDA_MEM_ALLOC_NODE_PARAMS *);
    CUresult (*freed)(CUgraphNode, CUdeviceptr *);
} driver_calls;

/* False for a driver whose graphs cannot allocate. */
static bool find_calls(driver_calls *out) {
    out->nodes = driver_function("cuGraphGetNodes");
    out->type = driver_function("cuGraphNodeGetType");
    out->child = driver_function("cuGraphChildGraphNodeGetGraph");
    out->allocated = driver_function("cuGraphMemAllocNodeGetParams");
    out->freed = driver_function("cuGraphMemFreeNodeGetParams");
    return out->nodes && out->type && out->child && out->allocated && out->freed;
}

/* Managed memory that names no card is the current one's, as it is of pools. */
static CUdevice device_of_node(const CUmemPoolProps *memory) {
    CUresult (*current)(CUdevice *) = driver_function("cuCtxGetDevice");
    CUdevice device = device_at(&memory->location);
    if (device < 0 && memory->allocType == CU_MEM_ALLOCATION_TYPE_MANAGED && current) current(&device);
    return device;
}

static bool add_graph(const driver_calls *calls, CUgraph graph, ranges *all);

static bool add_node(const driver_calls *calls, CUgraphNode node, ranges *all) {
    int type;
    CUgraph child;
    CUdeviceptr freed;
    CUDA_MEM_ALLOC_NODE_PARAMS wanted;
    if (calls->type(node, &type) != CUDA_SUCCESS) return true;
    if (type == CU_GRAPH_NODE_TYPE_GRAPH && calls->child(node, &child) == CUDA_SUCCESS)
        return add_graph(calls, child, all);
    if (type == CU_GRAPH_NODE_TYPE_MEM_FREE && calls->freed(node, &freed) == CUDA_SUCCESS)
        return add_range(all, 0, freed, 0);
    if (type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && calls->allocated(node, &wanted) == CUDA_SUCCESS) {
        CUdevice device = device_of_node(&wanted.poolProps);
        if (device >= 0 && device < MOST_DEVICES)
            return add_range(all, device, wanted.dptr, in_pages(wanted.bytesize));
    }
    return true;
}

static bool add_graph(const driver_calls *calls, CUgraph graph, ranges *all) {
    size_t count = 0;
    if (calls->nodes(graph, NULL, &count) != CUDA_SUCCESS || count == 0) return true;
    CUgraphNode *nodes = calloc(count, sizeof *nodes);
    bool well = nodes && calls->nodes(graph, nodes, &count) == CUDA_SUCCESS;
    for (size_t i = 0; i < count && well; i++) well = add_node(calls, nodes[i], all);
    free(nodes);
    return well;
}

/* By address, which cards do not have in common; what is largest there comes first, what frees it last. */
static int compare(const void *a, const void *b) {
    const range *one = a, *other = b;
    if (one->start != other->start) return one->start < other->start ? -1 : 1;
    return one->end > other->end ? -1 : one->end < other->end;
}

/* An address that is allocated more often than it is freed. */
static bool add_unfreed(const range *first, const range *end, graph_demand *out) {
    long balance = 0;
    for (const range *each = first; each < end; each++) balance += each->start < each->end ? 1 : -1;
    graph_allocation *added = balance > 0 ? malloc(sizeof *added) : NULL;
    if (!added) return balance <= 0;
    *added = (graph_allocation){first->device, first->start, first->end - first->start, NULL, out->unfreed};
    out->unfreed = added;
    return true;
}

void graph_allocations_drop(graph_allocation *list) {
    for (graph_allocation *next; list; list = next) {
        next = list->next;
        free(list);
    }
}

bool graph_demand_of(CUgraph graph, graph_demand *out) {
    *out = (graph_demand){0};
    driver_calls calls;
    if (!find_calls(&calls)) return true;
    ranges all = {0};
    bool well = add_graph(&calls, graph, &all);
    if (all.count) qsort(all.each, all.count, sizeof *all.each, compare);
    uint64_t covered = 0;
    const range *end = all.each + all.count;
    for (const range *each = all.each, *next; each < end && well; each = next) {
        for (next = each; next < end && next->start == each->start; next++) {
            if (covered < next->start) covered = next->start;
            if (covered < next->end) {
                out->bytes[next->device] += next->end - covered;
                covered = next->end;
            }
        }
        well = add_unfreed(each, next, out);
    }
    free(all.each);
    if (!well) graph_allocations_drop(out->unfreed), out->unfreed = NULL;
    return well;
}
