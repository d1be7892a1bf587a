/* Contexts from beginning to end: each takes memory of its card, and what it holds ends with it. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_memory.h"
#include "cuda_module.h"
#include "cuda_pool.h"
#include "cuda_sparse.h"

static const size_t usual_limit[3] = {1024, SIM_MIB, 8 * SIM_MIB}; /* stack size, printf buffer, heap */

/* The last that has ended: the next one has its handle, as a driver may do. */
static _Atomic(CUcontext) spare;

static void begin_default_streams(CUcontext context) {
    cuda_stream_begin(&context->legacy, context, SIM_DEFAULT);
    cuda_stream_begin(&context->per_thread, context, SIM_BLOCKING);
}

static CUresult context_new(CUdevice device, unsigned flags, bool primary, CUcontext *out) {
    CUresult result = cuda_take(device, cuda.device[device].gpu->context);
    if (result != CUDA_SUCCESS) return result;
    CUcontext c = atomic_exchange(&spare, NULL);
    if (!c && !(c = malloc(sizeof *c))) {
        cuda_give(device, cuda.device[device].gpu->context);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memset(c, 0, sizeof *c);
    c->device = device, c->flags = flags, c->primary = primary;
    begin_default_streams(c);
    memcpy(c->limit, usual_limit, sizeof usual_limit);
    *out = c;
    return CUDA_SUCCESS;
}

/* Everything that the context holds goes with it. Tells what its last work ended with. */
static CUresult context_free(CUcontext context) {
    sim_engine_wait_for_all(cuda.device[context->device].engine);
    CUresult fault = context->fault;
    cuda_memory_free_all(context);
    cuda_sparse_context_end(context);
    cuda_code_end(context);
    cuda_give(context->device, cuda.device[context->device].gpu->context + context->limit_bytes);
    free(atomic_exchange(&spare, context));
    return fault;
}

static CUresult create(CUcontext *context, unsigned flags, CUdevice device) {
    CUDA_ENTER(context);
    if (!cuda_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    CUresult result = context_new(device, flags, false, context);
    if (result != CUDA_SUCCESS) return result;
    result = cuda_enter(*context);
    if (result != CUDA_SUCCESS) context_free(*context);
    return result;
}
CUDA_API CUresult cuCtxCreate(CUcontext *c, unsigned flags, CUdevice device) {
    return create(c, flags, device);
}
CUDA_API CUresult cuCtxCreate_v2(CUcontext *c, unsigned flags, CUdevice device) {
    return create(c, flags, device);
}
CUDA_API CUresult cuCtxCreate_v3(CUcontext *c, CUexecAffinityParam *affinity, int count, unsigned flags,
                                 CUdevice device) {
    (void)affinity;
    return count > 0 ? CUDA_ERROR_NOT_SUPPORTED : create(c, flags, device);
}
CUDA_API CUresult cuCtxCreate_v4(CUcontext *c, CUctxCreateParams *params, unsigned flags, CUdevice device) {
    return params && params->numExecAffinityParams > 0 ? CUDA_ERROR_NOT_SUPPORTED : create(c, flags, device);
}

static CUresult destroy(CUcontext context) {
    CUDA_ENTER(context && !context->primary && !context->of);
    cuda_leave(context);
    return context_free(context);
}
CUDA_API CUresult cuCtxDestroy(CUcontext context) { return destroy(context); }
CUDA_API CUresult cuCtxDestroy_v2(CUcontext context) { return destroy(context); }

CUDA_API CUresult cuCtxAttach(CUcontext *context, unsigned flags) {
    CUDA_ENTER_CONTEXT(current, context && flags == 0);
    current->attached++;
    *context = current;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxDetach(CUcontext context) {
    CUDA_ENTER(context);
    if (cuda_current() != context) return CUDA_ERROR_INVALID_CONTEXT;
    if (!context->attached) return destroy(context);
    context->attached--;
    return cuda_fault(context);
}

CUDA_API CUresult cuCtxSynchronize_v2(CUcontext context) {
    CUDA_ENTER(context);
    sim_engine_wait_for_all(cuda.device[context->device].engine);
    cuda_pools_shrink(context->device);
    return cuda_fault(context);
}
CUDA_API CUresult cuCtxSynchronize(void) {
    CUDA_ENTER_CONTEXT(context, true);
    return cuCtxSynchronize_v2(context);
}
CUDA_API CUresult cuCtxGetLimit(size_t *value, int limit) {
    CUDA_ENTER_CONTEXT(current, value);
    CUcontext context = cuda_owner(current);
    *value = limit >= 0 && limit < 3 ? context->limit[limit] : 0;
    return CUDA_SUCCESS;
}

/* What the settings take beyond what is in the context's own memory. */
static uint64_t bytes_of_limits(const struct CUctx_st *c) {
    uint64_t threads = (uint64_t)cuda.device[c->device].gpu->multiprocessors * SIM_THREADS, bytes = 0;
    for (int i = 0; i < 3; i++)
        if (c->limit[i] > usual_limit[i])
            bytes += cuda_rounded((c->limit[i] - usual_limit[i]) * (i == CU_LIMIT_STACK_SIZE ? threads : 1));
    return bytes;
}

static CUresult set_limit(CUcontext context, int limit, size_t value) {
    struct CUctx_st changed = *context;
    changed.limit[limit] = value;
    uint64_t bytes = bytes_of_limits(&changed), before = context->limit_bytes;
    if (bytes > before && cuda_take(context->device, bytes - before) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (bytes < before) cuda_give(context->device, before - bytes);
    context->limit[limit] = value;
    context->limit_bytes = bytes;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuCtxSetLimit(int limit, size_t value) {
    CUDA_ENTER_CONTEXT(current, true);
    if (limit < 0 || limit >= 3) return CUDA_SUCCESS;
    if (value > (size_t)1 << 40) return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&cuda.mutex);
    CUresult result = set_limit(cuda_owner(current), limit, value);
    pthread_mutex_unlock(&cuda.mutex);
    return result;
}

CUDA_API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    CUDA_ENTER(context);
    struct cuda_device *d = cuda_device(device);
    if (!d) return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&cuda.mutex);
    CUresult result = d->primary ? CUDA_SUCCESS : context_new(device, d->primary_flags, true, &d->primary);
    if (result == CUDA_SUCCESS) d->primary_users++, *context = d->primary;
    pthread_mutex_unlock(&cuda.mutex);
    return result;
}

static CUresult drop_primary(CUdevice device, bool all) {
    CUDA_ENTER(true);
    struct cuda_device *d = cuda_device(device);
    if (!d) return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&cuda.mutex);
    CUcontext last = NULL;
    CUresult result = d->primary || all ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
    if (d->primary && (all || --d->primary_users == 0))
        last = d->primary, d->primary = NULL, d->primary_users = 0;
    pthread_mutex_unlock(&cuda.mutex);
    if (!last) return result;
    cuda_leave(last);
    return context_free(last);
}
CUDA_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) { return drop_primary(device, false); }
CUDA_API CUresult cuDevicePrimaryCtxRelease(CUdevice device) { return drop_primary(device, false); }
CUDA_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) { return drop_primary(device, true); }
CUDA_API CUresult cuDevicePrimaryCtxReset(CUdevice device) { return drop_primary(device, true); }

/* Green contexts: of their share of the card's processors nothing is simulated. */
struct CUgreenCtx_st {
    CUdevice device;
    struct CUctx_st context;
    CUgreenCtx next;
};
static CUgreenCtx gone; /* kept for the streams that were made in them */

CUDA_API CUresult cuGreenCtxCreate(CUgreenCtx *green, CUdevResourceDesc resources, CUdevice device,
                                   unsigned flags) {
    (void)resources, (void)flags;
    CUDA_ENTER(green);
    CUcontext primary;
    CUgreenCtx made = calloc(1, sizeof *made);
    if (!made) return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = cuDevicePrimaryCtxRetain(&primary, device);
    if (result != CUDA_SUCCESS) {
        free(made);
        return result;
    }
    made->device = made->context.device = device;
    made->context.of = primary;
    begin_default_streams(&made->context);
    *green = made;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxFromGreenCtx(CUcontext *context, CUgreenCtx green) {
    CUDA_ENTER(context && green);
    *context = &green->context;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuGreenCtxDestroy(CUgreenCtx green) {
    CUDA_ENTER(green);
    cuda_leave(&green->context);
    CUresult result = drop_primary(green->device, false);
    pthread_mutex_lock(&cuda.mutex);
    green->next = gone, gone = green;
    pthread_mutex_unlock(&cuda.mutex);
    return result;
}

CUDA_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags) {
    CUDA_ENTER(true);
    if (!cuda_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    cuda_device(device)->primary_flags = flags;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned flags) {
    return cuDevicePrimaryCtxSetFlags_v2(device, flags);
}
CUDA_API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
    CUDA_ENTER(flags && active);
    struct cuda_device *d = cuda_device(device);
    if (!d) return CUDA_ERROR_INVALID_DEVICE;
    *flags = d->primary_flags, *active = d->primary != NULL;
    return CUDA_SUCCESS;
}
