/*
 * Memory that a context sets aside because the program asked for it: heap and printf buffer of kernels, and
 * stacks for every thread that the card can run at once. What the context starts with is part of its own
 * cost; changes are charged.
 */
#include "hook_memory.h"

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

CUresult cuCtxSetLimit(int limit, size_t value) {
    cuCtxSetLimit_type real = REAL(cuCtxSetLimit);
    CUresult (*get)(size_t *, int) = driver_function("cuCtxGetLimit");
    if (!real) return CUDA_ERROR_NOT_FOUND;
    size_t before = 0;
    request self = request_in_context();
    uint64_t wanted = setting_bytes(limit, value);
    if (self.state == CARD_FREE || !wanted || !get || get(&before, limit) != CUDA_SUCCESS)
        return real(limit, value);

    /* The context's address differs from setting to setting in its lowest bits only. */
    uint64_t key = self.own.owner + (uint64_t)limit, now = setting_bytes(limit, before);
    held_charge held = hold(CHARGE_SETTING, key);
    if (wanted > now && !ask(&self, wanted - now)) {
        let_go(CUDA_ERROR_OUT_OF_MEMORY, &held, CHARGE_SETTING, key);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = real(limit, value);
    if (result != CUDA_SUCCESS) {
        settle(&self, result, CHARGE_SETTING, key);
        return let_go(result, &held, CHARGE_SETTING, key);
    }
    uint64_t charged_before = held.found ? charge_bytes(&held.what.taken) : 0,
             less = now > wanted ? now - wanted : 0;
    if (held.found && less)
        budget_shrink(held.what.card, &held.what.taken, charged_before > less ? charged_before - less : 0);
    for (int i = 0; held.found && i < MOST_SHARES_OF_CARD; i++)
        self.own.taken.bytes[i] += held.what.taken.bytes[i];
    return settle(&self, result, CHARGE_SETTING, key);
}
