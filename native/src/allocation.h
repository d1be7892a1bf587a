/* The one order of every allocating and freeing call, for memory behind pointers and behind handles. */
#pragma once

#include "request.h"

/* Whether SIZE bytes could be taken; always without limits or for nothing, never when the card is refused. */
bool ask(request *self, uint64_t size);

/* After the driver's answer: remember the charge under KEY, or give it back; returns RESULT. */
CUresult settle(request *self, CUresult result, charge_kind kind, uint64_t key);

/* A charge taken out before the driver frees, since it may hand the same address out again at once. */
typedef struct {
    bool found;
    charged what;
} held_charge;
held_charge hold(charge_kind kind, uint64_t key);
CUresult let_go(CUresult result, held_charge *held, charge_kind kind, uint64_t key);

/* What a call has queued there: only then does the driver let go of memory. */
void wait_for(CUstream stream);

/*
 * Body of an allocating entry point: reserve SIZE, call the driver, settle under what it wrote to PLACE. A
 * call without a place is the driver's to refuse.
 */
#define ALLOCATE(symbol, size, kind, place, ...)                                                             \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        request self = request_in_context();                                                                 \
        if (!ask(&self, (place) ? (size) : 0)) return CUDA_ERROR_OUT_OF_MEMORY;                              \
        CUresult result = real(__VA_ARGS__);                                                                 \
        return settle(&self, result, kind, result == CUDA_SUCCESS ? (uint64_t)*(place) : 0);                 \
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
