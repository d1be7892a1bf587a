/* What graphs hold of each card: the executable ones, and what the driver keeps of those that have ended. */
#pragma once

#include "request.h"

enum { MOST_DEVICES = 64 };

/* What concerns a card's graphs is done between these two, but for graphs_trim, which takes the lock itself.
 */
void graphs_lock(void);
void graphs_unlock(void);

/* One that its graph does not free: it may outlive the graph. */
typedef struct graph_allocation {
    CUdevice device;
    CUdeviceptr at;
    uint64_t bytes;
    CUgraphExec of; /* NULL: it has ended */
    struct graph_allocation *next;
} graph_allocation;

/* Takes over what an executable graph will leave behind. */
void graphs_leave(CUgraphExec executable, graph_allocation *unfreed);

/* It has ended, before graphs_ended of its cards: what of that has been freed is forgotten. */
void graphs_outlived(CUgraphExec executable);

/* Executable graphs hold BYTES more of a card; what they hold of it. */
void graphs_began(CUdevice device, uint64_t bytes);
uint64_t graphs_live(CUdevice device);

/* An executable graph has ended: its charge becomes one of what the driver keeps, and shrinks to that. */
void graphs_ended(CUdevice device, const charge *taken);

/* Charge what the driver keeps of a card beyond its executable graphs, by the driver's word. */
void graphs_settle(CUdevice device);

/* Have the driver release what it keeps without using it; whether that was anything. */
bool graphs_trim(void);

/* In the child of a fork. */
void graphs_forked(void);
