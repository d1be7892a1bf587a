/*
 * Memory that a context sets aside because the program asked for it: heap and printf buffer of kernels, and
 * stacks for every thread that the card can run at once. What the context starts with is part of its own
 * cost; changes are charged.
 */
#include "allocation.h"

static int device_attribute(CUdevice_attribute which) {
    CUresult (*get_device)(CUdevice *) = driver_function("cuCtxGetDevice");
    CUresult (*get)(int *, CUdevice_attribute, CUdevice) = driver_function("cuDeviceGetAttribute");
    CUdevice device;
    int value = 0;
    if (!get || !get_device || get_device(&device) != CUDA_SUCCESS) return 0;
    return get(&value, which, device) == CUDA_SUCCESS ? value : 0;
}

/* Bytes of the card that a setting of VALUE takes; 0: it takes none that depend on it. */
static uint64_t setting_bytes(int limit, size_t value) {
    uint64_t threads;
    switch (limit) {
    case CU_LIMIT_STACK_SIZE:
        threads = times((uint64_t)device_attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
                        (uint64_t)device_attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR));
        return times(threads, value);
    case CU_LIMIT_PRINTF_FIFO_SIZE:
    case CU_LIMIT_MALLOC_HEAP_SIZE:
        return value;
    default:
        return 0;
    }
}

/* What contexts of this process start with, which is part of their own cost. */
static uint64_t usual_bytes(int limit) {
    static _Atomic uint64_t usual[3]; /* plus one; 0: not asked yet, so nothing was changed yet */
    CUresult (*get)(size_t *, int) = driver_function("cuCtxGetLimit");
    size_t value = 0;
    uint64_t nothing = 0; /* only the first answer: what comes later may be what another thread has set */
    if (!usual[limit] && get && get(&value, limit) == CUDA_SUCCESS)
        atomic_compare_exchange_strong(&usual[limit], &nothing, setting_bytes(limit, value) + 1);
    return usual[limit] ? usual[limit] - 1 : 0;
}

CUresult cuCtxSetLimit(int limit, size_t value) {
    cuCtxSetLimit_type real = REAL(cuCtxSetLimit);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    request self = request_in_context();
    if (self.state == CARD_FREE || limit < 0 || limit > CU_LIMIT_MALLOC_HEAP_SIZE) return real(limit, value);
    uint64_t wanted = setting_bytes(limit, value), usual = usual_bytes(limit);
    wanted = wanted > usual ? in_pages(wanted - usual) : 0;

    /* Handles of contexts differ by more than the few settings there are. */
    uint64_t key = self.own.owner + (uint64_t)limit;
    held_charge held = hold(CHARGE_SETTING, key);
    uint64_t before = held.found ? charge_bytes(&held.what.taken) : 0;
    bool fits = wanted <= before || ask(&self, wanted - before);
    CUresult result = fits ? real(limit, value) : CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS) {
        settle(&self, result, CHARGE_SETTING, key);
        return let_go(result, &held, CHARGE_SETTING, key);
    }
    if (held.found) charge_add(&self.own.taken, &held.what.taken);
    if (self.state == CARD_LIMITED) budget_shrink(self.own.card, &self.own.taken, wanted);
    return settle(&self, result, CHARGE_SETTING, key);
}
