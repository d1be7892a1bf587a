/* Which context is current, by a stack for each thread; and what there is to be asked of one. */
#include "cuda_core.h"

enum { DEPTH = 64 };
static _Thread_local CUcontext stack[DEPTH];
static _Thread_local int depth;

CUcontext cuda_current(void) { return depth ? stack[depth - 1] : NULL; }
CUcontext cuda_owner(CUcontext context) { return context && context->of ? context->of : context; }
CUresult cuda_fault(CUcontext context) { return cuda_owner(context)->fault; }

CUresult cuda_enter(CUcontext context) {
    if (depth == DEPTH) return CUDA_ERROR_OUT_OF_MEMORY;
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

void cuda_leave(CUcontext context) {
    if (cuda_current() == context) depth--;
}

CUDA_API CUresult cuCtxPushCurrent_v2(CUcontext context) {
    CUDA_ENTER(context);
    return cuda_enter(context);
}
CUDA_API CUresult cuCtxPushCurrent(CUcontext context) { return cuCtxPushCurrent_v2(context); }
CUDA_API CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    CUDA_ENTER(true);
    if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
    if (context) *context = cuda_current();
    depth--;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxPopCurrent(CUcontext *context) { return cuCtxPopCurrent_v2(context); }
CUDA_API CUresult cuCtxSetCurrent(CUcontext context) {
    CUDA_ENTER(true);
    if (depth) depth--;
    return context ? cuda_enter(context) : CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxGetCurrent(CUcontext *context) {
    CUDA_ENTER(context);
    *context = cuda_current();
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxGetDevice(CUdevice *device) {
    CUDA_ENTER(device);
    if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
    *device = cuda_current()->device;
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
CUDA_API CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    CUDA_ENTER(true);
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CUDA_SUCCESS;
}
/* Every card reaches the memory of every other, asked for or not. */
CUDA_API CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
    CUDA_ENTER_CONTEXT(context, peer && flags == 0);
    return context->device == peer->device ? CUDA_ERROR_PEER_ACCESS_UNSUPPORTED : CUDA_SUCCESS;
}
CUDA_API CUresult cuCtxDisablePeerAccess(CUcontext peer) {
    CUDA_ENTER_CONTEXT(context, peer);
    return context->device == peer->device ? CUDA_ERROR_PEER_ACCESS_NOT_ENABLED : CUDA_SUCCESS;
}
