#include "shared.h"

/* How often this process holds each piece; changed with the state. */
static unsigned holds[SIM_SHARED];

static struct sim_shared *at(struct sim_state *state, struct sim_piece piece) {
    if (piece.place >= SIM_SHARED) return NULL;
    struct sim_shared *found = &state->shared[piece.place];
    return found->bytes && found->number == piece.number ? found : NULL;
}

static uint64_t bit(uint32_t number) { return UINT64_C(1) << number % 64; }

static bool holds_it(const struct sim_shared *piece, int slot) {
    return piece->holders[slot / 64] >> slot % 64 & 1;
}

/* A free place, which nothing is bound to; the first hold of it is this process's. */
static bool make(struct sim_state *state, int slot, struct sim_shared what, struct sim_piece *piece) {
    for (uint32_t place = 0; place < SIM_SHARED; place++) {
        struct sim_shared *each = &state->shared[place];
        if (each->bytes && sim_state_payer(state, each) != SIM_GONE) continue;
        what.number = each->number + 1;
        what.maker = slot;
        what.holders[slot / 64] = bit((uint32_t)slot);
        *each = what;
        for (uint32_t i = 0; i < state->shared_end; i++) state->shared[i].bound_to[place / 64] &= ~bit(place);
        if (place >= state->shared_end) state->shared_end = place + 1;
        holds[place] = 1;
        *piece = (struct sim_piece){place, what.number};
        return true;
    }
    return false;
}

bool sim_shared_make(struct sim_state *state, int slot, int gpu, uint64_t bytes, struct sim_piece *piece) {
    sim_state_begin_change();
    bool made = make(state, slot, (struct sim_shared){.gpu = gpu, .bytes = bytes}, piece);
    if (made) atomic_fetch_sub(&state->slot[slot].use[gpu].memory, bytes);
    sim_state_end_change();
    return made;
}

bool sim_shared_hold(struct sim_state *state, int slot, struct sim_piece piece, int *gpu, uint64_t *bytes) {
    sim_state_begin_change();
    struct sim_shared *found = at(state, piece);
    bool there = found && sim_state_payer(state, found) != SIM_GONE;
    if (there) {
        if (!holds_it(found, slot)) holds[piece.place] = 0;
        holds[piece.place]++;
        found->holders[slot / 64] |= bit((uint32_t)slot);
        *gpu = found->gpu;
        *bytes = found->bytes;
    }
    sim_state_end_change();
    return there;
}

void sim_shared_let_go(struct sim_state *state, int slot, struct sim_piece piece) {
    sim_state_begin_change();
    struct sim_shared *found = at(state, piece);
    if (found && --holds[piece.place] == 0) {
        found->holders[slot / 64] &= ~bit((uint32_t)slot);
        if (sim_state_payer(state, found) == SIM_GONE) found->bytes = 0;
    }
    sim_state_end_change();
}

bool sim_shared_is_own(struct sim_state *state, int slot, struct sim_piece piece) {
    sim_state_begin_change();
    const struct sim_shared *found = at(state, piece);
    bool own = found && found->maker == slot && holds_it(found, slot);
    sim_state_end_change();
    return own;
}

bool sim_multicast_make(struct sim_state *state, int slot, uint64_t bytes, uint32_t team,
                        struct sim_piece *object) {
    sim_state_begin_change();
    bool made = make(state, slot, (struct sim_shared){.bytes = bytes, .team = team}, object);
    sim_state_end_change();
    return made;
}

uint32_t sim_multicast_team(struct sim_state *state, struct sim_piece object) {
    sim_state_begin_change();
    const struct sim_shared *found = at(state, object);
    uint32_t team = found ? found->team : 0;
    sim_state_end_change();
    return team;
}

static uint32_t members(const struct sim_shared *object) {
    return (uint32_t)__builtin_popcount(object->added);
}

bool sim_multicast_add(struct sim_state *state, struct sim_piece object, int gpu) {
    sim_state_begin_change();
    struct sim_shared *found = at(state, object);
    bool added = found && members(found) < found->team && !(found->added >> gpu & 1);
    if (added) found->added |= 1u << gpu;
    sim_state_end_change();
    return added;
}

bool sim_multicast_complete(struct sim_state *state, struct sim_piece object, int gpu, bool *member) {
    sim_state_begin_change();
    const struct sim_shared *found = at(state, object);
    bool complete = found && members(found) == found->team;
    *member = found && found->added >> gpu & 1;
    sim_state_end_change();
    return complete;
}

void sim_multicast_bind(struct sim_state *state, struct sim_piece object, struct sim_piece memory,
                        bool bound) {
    sim_state_begin_change();
    struct sim_shared *found = at(state, memory);
    if (found && bound)
        found->bound_to[object.place / 64] |= bit(object.place);
    else if (found)
        found->bound_to[object.place / 64] &= ~bit(object.place);
    sim_state_end_change();
}
