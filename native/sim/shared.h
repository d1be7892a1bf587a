/*
 * Memory that left the process which made it (IPC, exported handles): a piece lives as long as a living
 * process holds it, and is counted once, for its maker as long as that one holds it, else for another holder.
 */
#pragma once

#include "state.h"

/* What a handle names, in any process of the node. */
struct sim_piece {
    uint32_t place, number;
};

/* Turns memory that this process holds into a piece, of which it is the first holder. False: the table is
 * full, and nothing has changed. */
bool sim_shared_make(struct sim_state *state, int slot, int gpu, uint64_t bytes, struct sim_piece *piece);

/* One more hold of this process. False when the piece is gone. */
bool sim_shared_hold(struct sim_state *state, int slot, struct sim_piece piece, int *gpu, uint64_t *bytes);

/* Gives one hold up. */
void sim_shared_let_go(struct sim_state *state, int slot, struct sim_piece piece);

/* Whether this process made the piece and still holds it. */
bool sim_shared_is_own(struct sim_state *state, int slot, struct sim_piece piece);
