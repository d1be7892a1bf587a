/*
 * Descriptors that stand for a shared piece and keep it alive for as long as one of them is open anywhere.
 * Each is an open file with a lock on the piece's own byte: copies of it, in other processes and on their way
 * there as well, share the lock, and the kernel drops it when the last of them is closed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The file of the locks stands beside the state. Without it nothing can be exported. */
void sim_exported_open(const char *state_path);

/* A new descriptor for the piece NUMBER at PLACE; -1 when there is none to be had. */
int sim_exported_descriptor(uint32_t place, uint32_t number);

/* What a descriptor stands for; false when it is none of these. */
bool sim_exported_read(int descriptor, uint32_t *place, uint32_t *number);

bool sim_exported_is_open(uint32_t place);
