/*
 * Contexts: the driver takes memory for each (code, stacks, heaps), which must come out of the share. How
 * much is known only afterwards. The first context of a share is measured and its cost kept in the ledger;
 * every later one reserves that much first, so a share that is full refuses a context as a full card does.
 */
#include <pthread.h>
#include <unistd.h>

#include "hook_memory.h"
#include "log.h"
#include "nvml_probe.h"

/* When nothing can be measured. */
static const uint64_t USUAL_CONTEXT_BYTES = UINT64_C(256) << 20;

typedef struct {
    card_state state;
    budget *card;
    charge taken;
    uint64_t before; /* bytes in use before the call, by the driver's word */
} opening;

/* Contexts are opened one at a time in a process, so that a difference belongs to one of them. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* Reserve what a context is known to cost; false when it does not fit. */
static bool begin(opening *self, CUdevice device) {
    self->card = NULL;
    self->taken = (charge){0};
    self->before = 0;
    self->state = card_of_device(device, &self->card);
    if (self->state != CARD_LIMITED) return self->state == CARD_FREE;
    uint64_t known = budget_context_bytes(self->card);
    if (!known) self->before = nvml_used_bytes(self->card->device);
    return reserve(self->state, self->card, known ? known : USUAL_CONTEXT_BYTES, &self->taken);
}

/* Measure the first, remember the charge under KEY, or give it back; returns RESULT. */
static CUresult finish(opening *self, CUresult result, charge_kind kind, uint64_t key) {
    if (self->state == CARD_LIMITED && result == CUDA_SUCCESS && !budget_context_bytes(self->card)) {
        uint64_t after = nvml_used_bytes(self->card->device);
        uint64_t cost = after > self->before ? after - self->before : USUAL_CONTEXT_BYTES;
        charge measured;
        if (cost <= 4 * USUAL_CONTEXT_BYTES && budget_reserve(self->card, cost, &measured) == 0) {
            budget_refund(self->card, &self->taken);
            self->taken = measured;
            budget_learn_context(self->card, cost);
        }
    }
    return settle(result, self->state, self->card, kind, key, &self->taken);
}

static bool primary_is_active(CUdevice device) {
    CUresult (*get_state)(CUdevice, unsigned int *, int *) = driver_function("cuDevicePrimaryCtxGetState");
    unsigned int flags;
    int active = 0;
    return get_state && get_state(device, &flags, &active) == CUDA_SUCCESS && active;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    cuDevicePrimaryCtxRetain_type real = REAL(cuDevicePrimaryCtxRetain);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    pthread_mutex_lock(&one_at_a_time);
    CUresult result;
    opening self;
    if (primary_is_active(device)) {
        result = real(context, device);
    } else if (!begin(&self, device)) {
        result = CUDA_ERROR_OUT_OF_MEMORY;
    } else {
        result = finish(&self, real(context, device), CHARGE_PRIMARY, (uint64_t)device);
    }
    pthread_mutex_unlock(&one_at_a_time);
    return result;
}

/* The primary context is counted by the driver; its memory goes back when the last user has let go. */
static CUresult primary_ended(CUresult result, CUdevice device) {
    if (result == CUDA_SUCCESS && !primary_is_active(device)) {
        held_charge held = hold(CHARGE_PRIMARY, (uint64_t)device);
        let_go(CUDA_SUCCESS, &held, CHARGE_PRIMARY, (uint64_t)device);
    }
    return result;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    cuDevicePrimaryCtxRelease_v2_type real = REAL(cuDevicePrimaryCtxRelease_v2);
    return real ? primary_ended(real(device), device) : CUDA_ERROR_NOT_FOUND;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    cuDevicePrimaryCtxReset_v2_type real = REAL(cuDevicePrimaryCtxReset_v2);
    return real ? primary_ended(real(device), device) : CUDA_ERROR_NOT_FOUND;
}

/* Body of the versions of cuCtxCreate, which differ in what they pass on. */
#define OPEN(symbol, ...)                                                                                    \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        opening self;                                                                                        \
        CUresult result = CUDA_ERROR_OUT_OF_MEMORY;                                                          \
        pthread_mutex_lock(&one_at_a_time);                                                                  \
        if (begin(&self, device)) {                                                                          \
            result = real(__VA_ARGS__);                                                                      \
            result = finish(&self, result, CHARGE_CONTEXT, result == CUDA_SUCCESS ? (uint64_t)*context : 0); \
        }                                                                                                    \
        pthread_mutex_unlock(&one_at_a_time);                                                                \
        return result;                                                                                       \
    } while (0)

CUresult cuCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device) {
    OPEN(cuCtxCreate_v2, context, flags, device);
}

CUresult cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *affinity, int affinities, unsigned int flags,
                        CUdevice device) {
    OPEN(cuCtxCreate_v3, context, affinity, affinities, flags, device);
}

CUresult cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *parameters, unsigned int flags,
                        CUdevice device) {
    OPEN(cuCtxCreate_v4, context, parameters, flags, device);
}

CUresult cuCtxDestroy_v2(CUcontext context) { RELEASE(cuCtxDestroy_v2, CHARGE_CONTEXT, context, context); }
