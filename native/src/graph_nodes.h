/* What the nodes of a graph allocate, added by hand or captured from stream-ordered allocations. */
#pragma once

#include "graph_memory.h"

typedef struct {
    uint64_t bytes[MOST_DEVICES]; /* of each card; addresses that are used again count once */
    graph_allocation *unfreed;    /* what no node of the graph frees */
} graph_demand;

/* Of a graph and the graphs within it. False without host memory for it; then there is nothing in it. */
bool graph_demand_of(CUgraph graph, graph_demand *out);

void graph_allocations_drop(graph_allocation *list);
