/*
 * Memory that left the process which made it (IPC, exported handles): a piece lives as long as a living
 * process holds it, a descriptor of it is open, or a multicast object that it is bound to lives. It is
 * counted once (sim_state_payer). Multicast objects live in the same way, and take no memory themselves.
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

/* A multicast object of BYTES for a team of so many cards, of which this process is the first holder. */
bool sim_multicast_make(struct sim_state *state, int slot, uint64_t bytes, uint32_t team,
                        struct sim_piece *object);

/* Cards of the team; 0: this is memory, or gone. */
uint32_t sim_multicast_team(struct sim_state *state, struct sim_piece object);

/* Adds a card to the team; false when it is there or the team is complete. */
bool sim_multicast_add(struct sim_state *state, struct sim_piece object, int gpu);

/* The team is complete, so that memory can be bound. */
bool sim_multicast_complete(struct sim_state *state, struct sim_piece object, int gpu, bool *member);

/* Whether the object holds the memory. */
void sim_multicast_bind(struct sim_state *state, struct sim_piece object, struct sim_piece memory,
                        bool bound);
