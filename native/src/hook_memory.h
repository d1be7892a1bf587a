/* The one order of every allocating and freeing call, for memory behind pointers and behind handles. */
#pragma once

#include "cards.h"
#include "charges.h"

/* Whether SIZE bytes could be taken; always without limits, never when the card is refused. */
bool reserve(card_state state, const budget *card, uint64_t size, charge *taken);

/* After the driver's answer: remember the charge, or give it back; returns RESULT. */
CUresult settle(CUresult result, card_state state, const budget *card, charge_kind kind, uint64_t key,
                const charge *taken);

/* A charge taken out before the driver frees, since it may hand the same address out again at once. */
typedef struct {
    bool found;
    const budget *card;
    charge taken;
} held_charge;
held_charge hold(charge_kind kind, uint64_t key);
CUresult let_go(CUresult result, held_charge *held, charge_kind kind, uint64_t key);

/* Body of an allocating entry point: reserve SIZE, call the driver, settle under KEY. */
#define ALLOCATE(symbol, size, kind, key, ...)                                                               \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        budget *card = NULL;                                                                                 \
        charge taken = {0};                                                                                  \
        card_state state = card_of_context(&card);                                                           \
        if (!reserve(state, card, size, &taken)) return CUDA_ERROR_OUT_OF_MEMORY;                            \
        CUresult result = real(__VA_ARGS__);                                                                 \
        return settle(result, state, card, kind, (uint64_t)(key), &taken);                                   \
    } while (0)

/* Body of a freeing entry point: the charge of KEY goes back once the driver has freed. */
#define RELEASE(symbol, kind, key, ...)                                                                      \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        held_charge held = hold(kind, (uint64_t)(key));                                                      \
        CUresult result = real(__VA_ARGS__);                                                                 \
        return let_go(result, &held, kind, (uint64_t)(key));                                                 \
    } while (0)
