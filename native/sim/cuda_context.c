/* Contexts: each takes memory of its card; a stack for each thread says which one is current. */
#include <stdlib.h>

#include "cuda_core.h"
#include "cuda_memory.h"

enum { DEPTH = 64 };
static _Thread_local CUcontext stack[DEPTH];
static _Thread_local int depth;

CUcontext cuda_current(void) { return depth ? stack[depth - 1] : NULL; }

CUresult cuda_context_new(CUdevice device, unsigned flags, bool primary, CUcontext *out) {
    CUresult result = cuda_take(device, cuda.device[device].gpu->context);
    if (result != CUDA_SUCCESS) return result;
    CUcontext c = calloc(1, sizeof *c);
    if (!c) {
        cuda_give(device, cuda.device[device].gpu->context);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    c->device = device, c->flags = flags, c->primary = primary;
    c->legacy.context = c->per_thread.context = c;
    *out = c;
    return CUDA_SUCCESS;
}

/* Everything that the context holds goes with it. */
void cuda_context_free(CUcontext context) {
    struct sim_engine *engine = cuda.device[context->device].engine;
    sim_engine_wait(engine, sim_engine_last(engine));
    cuda_memory_free_all(context);
    cuda_give(context->device, cuda.device[context->device].gpu->context);
    free(context);
}

static CUresult push(CUcontext context) {
    if (depth == DEPTH) return CUDA_ERROR_OUT_OF_MEMORY;
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

static CUresult create(CUcontext *context, unsigned flags, CUdevice device) {
    CUDA_ENTER(context);
    if (!cuda_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    CUresult result = cuda_context_new(device, flags, false, context);
    return result == CUDA_SUCCESS ? push(*context) : result;
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
    CUDA_ENTER(context && !context->primary);
    if (cuda_current() == context) depth--;
    cuda_context_free(context);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxDestroy(CUcontext context) { return destroy(context); }
CUDA_API CUresult cuCtxDestroy_v2(CUcontext context) { return destroy(context); }

CUDA_API CUresult cuCtxPushCurrent_v2(CUcontext context) {
    CUDA_ENTER(context);
    return push(context);
}
CUDA_API CUresult cuCtxPushCurrent(CUcontext context) { return cuCtxPushCurrent_v2(context); }
CUDA_API CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    CUDA_ENTER_CONTEXT(current, true);
    if (context) *context = current;
    depth--;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxPopCurrent(CUcontext *context) { return cuCtxPopCurrent_v2(context); }
CUDA_API CUresult cuCtxSetCurrent(CUcontext context) {
    CUDA_ENTER(true);
    if (depth) depth--;
    return context ? push(context) : CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxGetCurrent(CUcontext *context) {
    CUDA_ENTER(context);
    *context = cuda_current();
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxGetDevice(CUdevice *device) {
    CUDA_ENTER_CONTEXT(context, device);
    *device = context->device;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxGetFlags(unsigned *flags) {
    CUDA_ENTER_CONTEXT(context, flags);
    *flags = context->flags;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxGetId(CUcontext context, unsigned long long *id) {
    CUDA_ENTER(id);
    *id = (uintptr_t)(context ? context : cuda_current());
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxGetApiVersion(CUcontext context, unsigned *version) {
    (void)context;
    CUDA_ENTER(version);
    *version = 3020;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxSynchronize(void) {
    CUDA_ENTER_CONTEXT(context, true);
    struct sim_engine *engine = cuda.device[context->device].engine;
    sim_engine_wait(engine, sim_engine_last(engine));
    cuda_pools_shrink(context->device);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    CUDA_ENTER(true);
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxGetLimit(size_t *value, int limit) {
    CUDA_ENTER(value);
    *value = limit == 0 ? 1024 : limit == 2 ? 8 * SIM_MIB : 0; /* stack size, malloc heap size */
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxSetLimit(int limit, size_t value) {
    (void)limit, (void)value;
    CUDA_ENTER(true);
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    CUDA_ENTER(context);
    struct cuda_device *d = cuda_device(device);
    if (!d) return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&cuda.mutex);
    CUresult result =
        d->primary ? CUDA_SUCCESS : cuda_context_new(device, d->primary_flags, true, &d->primary);
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
    if (last && cuda_current() == last) depth--;
    if (last) cuda_context_free(last);
    return result;
}
CUDA_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) { return drop_primary(device, false); }
CUDA_API CUresult cuDevicePrimaryCtxRelease(CUdevice device) { return drop_primary(device, false); }
CUDA_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) { return drop_primary(device, true); }
CUDA_API CUresult cuDevicePrimaryCtxReset(CUdevice device) { return drop_primary(device, true); }

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
