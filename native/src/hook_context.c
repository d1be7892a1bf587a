/* Contexts of the program's own, which end when they are destroyed or when their last user detaches. */
#include "allocation.h"
#include "contexts.h"
#include "device_time.h"

static CUresult opened(opening *self, CUresult result, CUcontext *context) {
    if (result == CUDA_SUCCESS && !context_measured(self)) {
        CUresult (*undo)(CUcontext) = driver_function("cuCtxDestroy_v2");
        if (undo) undo(*context);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    return settle(&self->asked, result, CHARGE_CONTEXT, result == CUDA_SUCCESS ? (uint64_t)*context : 0);
}

/* Body of the versions of cuCtxCreate, which differ in what they pass on. */
#define OPEN(symbol, ...)                                                                                    \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        opening self;                                                                                        \
        CUresult result = CUDA_ERROR_OUT_OF_MEMORY;                                                          \
        contexts_lock();                                                                                     \
        if (context_begin(&self, device)) {                                                                  \
            result = opened(&self, real(__VA_ARGS__), context);                                              \
        }                                                                                                    \
        contexts_unlock();                                                                                   \
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

CUresult cuCtxCreate(CUcontext *context, unsigned int flags, CUdevice device) {
    OPEN(cuCtxCreate, context, flags, device);
}

CUresult cuGLCtxCreate(CUcontext *context, unsigned int flags, CUdevice device) {
    OPEN(cuGLCtxCreate, context, flags, device);
}

CUresult cuGLCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device) {
    OPEN(cuGLCtxCreate_v2, context, flags, device);
}

CUresult cuVDPAUCtxCreate(CUcontext *context, unsigned int flags, CUdevice device, unsigned int video,
                          void *get_function) {
    OPEN(cuVDPAUCtxCreate, context, flags, device, video, get_function);
}

CUresult cuVDPAUCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device, unsigned int video,
                             void *get_function) {
    OPEN(cuVDPAUCtxCreate_v2, context, flags, device, video, get_function);
}

/* Of a context that is not charged for itself, as a primary one, no uses are counted. */
CUresult cuCtxAttach(CUcontext *context, unsigned int flags) {
    cuCtxAttach_type real = REAL(cuCtxAttach);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    contexts_lock();
    CUresult result = real(context, flags);
    if (result == CUDA_SUCCESS) {
        held_charge held = hold(CHARGE_CONTEXT, (uint64_t)*context);
        held.what.attached++;
        let_go(CUDA_ERROR_INVALID_CONTEXT, &held, CHARGE_CONTEXT, (uint64_t)*context);
    }
    contexts_unlock();
    return result;
}

/* Destroyed whoever uses it, or detached from: then its last use ends it. */
static CUresult leave(int hook, CUcontext context, bool destroyed) {
    cuCtxDestroy_v2_type real = (cuCtxDestroy_v2_type)real_function(hook);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    contexts_lock();
    held_charge held = hold(CHARGE_CONTEXT, (uint64_t)context);
    device_time_closing(context);
    CUresult result = real(context);
    bool left = context_call_succeeded(result);
    bool ended = left && (destroyed || (held.found && held.what.attached == 0));
    if (left && !ended) held.what.attached--;
    let_go(ended ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT, &held, CHARGE_CONTEXT, (uint64_t)context);
    device_time_closed(context, ended);
    if (ended) context_ended((uint64_t)context);
    contexts_unlock();
    return result;
}

CUresult cuCtxDestroy_v2(CUcontext context) { return leave(HOOK_cuCtxDestroy_v2, context, true); }
CUresult cuCtxDestroy(CUcontext context) { return leave(HOOK_cuCtxDestroy, context, true); }
CUresult cuCtxDetach(CUcontext context) { return leave(HOOK_cuCtxDetach, context, false); }
