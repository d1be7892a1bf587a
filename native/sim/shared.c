#include "shared.h"

/* How often this process holds each piece; changed with the state. */
static unsigned holds[SIM_SHARED];

static struct sim_shared *at(struct sim_state *state, struct sim_piece piece) {
    if (piece.place >= SIM_SHARED) return NULL;
    struct sim_shared *found = &state->shared[piece.place];
    return found->bytes && found->number == piece.number ? found : NULL;
}

static bool holds_it(const struct sim_shared *piece, int slot) {
    return piece->holders[slot / 64] >> slot % 64 & 1;
}

bool sim_shared_make(struct sim_state *state, int slot, int gpu, uint64_t bytes, struct sim_piece *piece) {
    bool made = false;
    sim_state_begin_change();
    for (uint32_t place = 0; place < SIM_SHARED && !made; place++) {
        struct sim_shared *each = &state->shared[place];
        if (each->bytes && sim_state_payer(each) >= 0) continue;
        *each = (struct sim_shared){.number = each->number + 1, .gpu = gpu, .maker = slot, .bytes = bytes};
        each->holders[slot / 64] = UINT64_C(1) << slot % 64;
        atomic_fetch_sub(&state->slot[slot].use[gpu].memory, bytes);
        holds[place] = 1;
        *piece = (struct sim_piece){place, each->number};
        made = true;
    }
    sim_state_end_change();
    return made;
}

bool sim_shared_hold(struct sim_state *state, int slot, struct sim_piece piece, int *gpu, uint64_t *bytes) {
    sim_state_begin_change();
    struct sim_shared *found = at(state, piece);
    bool alive = found && sim_state_payer(found) >= 0;
    if (alive) {
        if (!holds_it(found, slot)) holds[piece.place] = 0;
        holds[piece.place]++;
        found->holders[slot / 64] |= UINT64_C(1) << slot % 64;
        *gpu = found->gpu;
        *bytes = found->bytes;
    }
    sim_state_end_change();
    return alive;
}

void sim_shared_let_go(struct sim_state *state, int slot, struct sim_piece piece) {
    sim_state_begin_change();
    struct sim_shared *found = at(state, piece);
    if (found && --holds[piece.place] == 0) {
        found->holders[slot / 64] &= ~(UINT64_C(1) << slot % 64);
        if (sim_state_payer(found) < 0) found->bytes = 0;
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
