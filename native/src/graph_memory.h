/* What graphs hold of each card: the executable ones, and what the driver keeps of those that have ended. */
#pragma once

#include "request.h"

enum { MOST_DEVICES = 64 };

/* What concerns a card's graphs is done between these two, but for graphs_trim, which takes the lock itself.
 */
void graphs_lock(void);
void graphs_unlock(void);

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
