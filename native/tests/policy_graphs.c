/* What the nodes of graphs allocate, told by a driver of the test's own. */
#include "../src/allocation.h"
#include "../src/graph_nodes.h"
#include "policy.h"

enum { FAILS = -1, NODES = 100 };

struct CUgraphNode_st {
    int type;
    CUdeviceptr at;
    size_t size;
    CUdevice device; /* -1: managed memory, of the current card */
    CUgraph within;
};
struct CUgraph_st {
    size_t count;
    struct CUgraphNode_st nodes[NODES];
};

static CUresult get_nodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
    for (size_t i = 0; nodes && i < graph->count; i++) nodes[i] = &graph->nodes[i];
    *count = graph->count;
    return CUDA_SUCCESS;
}
static CUresult get_type(CUgraphNode node, int *type) {
    *type = node->type;
    return node->type == FAILS ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
static CUresult get_child(CUgraphNode node, CUgraph *child) { return *child = node->within, CUDA_SUCCESS; }
static CUresult get_allocated(CUgraphNode node, CUDA_MEM_ALLOC_NODE_PARAMS *wanted) {
    *wanted = (CUDA_MEM_ALLOC_NODE_PARAMS){.dptr = node->at, .bytesize = node->size};
    if (node->device < 0)
        wanted->poolProps.allocType = CU_MEM_ALLOCATION_TYPE_MANAGED;
    else
        wanted->poolProps.location = (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, node->device};
    return CUDA_SUCCESS;
}
static CUresult get_freed(CUgraphNode node, CUdeviceptr *at) { return *at = node->at, CUDA_SUCCESS; }
static CUresult get_current(CUdevice *device) { return *device = 1, CUDA_SUCCESS; }

uint64_t in_pages(uint64_t size) { return size; }
CUdevice device_at(const CUmemLocation *location) {
    return location->type == CU_MEM_LOCATION_TYPE_DEVICE ? location->id : -1;
}

static bool graphs_allocate = true;
void *driver_function(const char *name) {
    if (!strcmp(name, "cuGraphGetNodes")) return (void *)get_nodes;
    if (!strcmp(name, "cuGraphNodeGetType")) return (void *)get_type;
    if (!strcmp(name, "cuGraphChildGraphNodeGetGraph")) return (void *)get_child;
    if (!strcmp(name, "cuGraphMemAllocNodeGetParams")) return graphs_allocate ? (void *)get_allocated : NULL;
    if (!strcmp(name, "cuGraphMemFreeNodeGetParams")) return (void *)get_freed;
    return !strcmp(name, "cuCtxGetDevice") ? (void *)get_current : NULL;
}

static struct CUgraph_st graph;
static graph_demand demand;

static void begin(void) { graph.count = 0; }
static void allocate(CUdevice device, CUdeviceptr at, size_t size) {
    graph.nodes[graph.count++] =
        (struct CUgraphNode_st){CU_GRAPH_NODE_TYPE_MEM_ALLOC, at, size, device, NULL};
}
static void release(CUdeviceptr at) {
    graph.nodes[graph.count++] = (struct CUgraphNode_st){.type = CU_GRAPH_NODE_TYPE_MEM_FREE, .at = at};
}
/* Bytes of the first two cards, and how many allocations may outlive the graph. */
static bool demands(uint64_t first, uint64_t second, int unfreed) {
    CHECK(graph_demand_of(&graph, &demand));
    for (const graph_allocation *each = demand.unfreed; each; each = each->next) unfreed--;
    graph_allocations_drop(demand.unfreed);
    return demand.bytes[0] == first && demand.bytes[1] == second && unfreed == 0;
}

static void what_all_nodes_allocate_adds_up_by_card(void) {
    begin();
    CHECK(demands(0, 0, 0));
    allocate(0, 16 * MIB, 2 * MIB), allocate(1, 32 * MIB, 4 * MIB), allocate(-1, 64 * MIB, 8 * MIB);
    allocate(MOST_DEVICES, 128 * MIB, MIB); /* no card that could be ours */
    graph.nodes[graph.count++] = (struct CUgraphNode_st){.type = CU_GRAPH_NODE_TYPE_KERNEL};
    graph.nodes[graph.count++] = (struct CUgraphNode_st){.type = FAILS};
    CHECK(demands(2 * MIB, 12 * MIB, 3));
    graphs_allocate = false;
    CHECK(demands(0, 0, 0));
    graphs_allocate = true;
}
static void what_is_within_another_graph_counts_as_well(void) {
    static struct CUgraph_st inner;
    begin(), allocate(0, 16 * MIB, 2 * MIB);
    inner = graph;
    begin(), allocate(0, 32 * MIB, 4 * MIB);
    graph.nodes[graph.count++] = (struct CUgraphNode_st){.type = CU_GRAPH_NODE_TYPE_GRAPH, .within = &inner};
    CHECK(demands(6 * MIB, 0, 2));
}
static void addresses_that_nodes_have_one_after_the_other_count_once(void) {
    begin();
    for (int i = 0; i < NODES / 4; i++) {
        allocate(0, 16 * MIB, 2 * MIB), release(16 * MIB);
        allocate(0, 17 * MIB, 2 * MIB), release(17 * MIB);
    }
    CHECK(demands(3 * MIB, 0, 0));
}
static void without_addresses_each_counts_for_itself(void) {
    begin(), allocate(0, 0, 2 * MIB), allocate(0, 0, 2 * MIB);
    CHECK(demands(4 * MIB, 0, 2));
}
/* Of what the graph frees itself nobody needs to be asked whether it outlives it. */
static void only_what_is_allocated_more_often_than_freed_may_outlive_the_graph(void) {
    begin(), allocate(0, 16 * MIB, 2 * MIB), release(16 * MIB), allocate(0, 32 * MIB, 2 * MIB);
    CHECK(demands(4 * MIB, 0, 1));
    CHECK(graph_demand_of(&graph, &demand) && demand.unfreed->at == 32 * MIB && demand.unfreed->device == 0);
    graph_allocations_drop(demand.unfreed);
    allocate(0, 16 * MIB, 2 * MIB);
    CHECK(demands(4 * MIB, 0, 2));
    release(48 * MIB); /* another graph's */
    CHECK(demands(4 * MIB, 0, 2));
}

void test_graphs(void) {
    what_all_nodes_allocate_adds_up_by_card();
    what_is_within_another_graph_counts_as_well();
    addresses_that_nodes_have_one_after_the_other_count_once();
    without_addresses_each_counts_for_itself();
    only_what_is_allocated_more_often_than_freed_may_outlive_the_graph();
}
