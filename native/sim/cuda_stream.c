/* Streams and events. */
#include <stdlib.h>

#include "cuda_core.h"
#include "cuda_pool.h"

struct CUevent_st {
    CUcontext context;
    unsigned flags;
    uint64_t capture;      /* number of the capture that it was recorded in, 0: none */
    uint64_t number;       /* of its operation, 0 before the first record */
    _Atomic uint64_t time; /* device time of the record */
};

CUstream cuda_stream(CUstream stream, bool per_thread) {
    if (stream && stream != CU_STREAM_LEGACY && stream != CU_STREAM_PER_THREAD) return stream;
    CUcontext context = cuda_current();
    if (!context) return NULL;
    if (stream == CU_STREAM_PER_THREAD || (!stream && per_thread)) return &context->per_thread;
    return &context->legacy;
}

static struct sim_engine *engine_of(CUcontext context) { return cuda.device[context->device].engine; }

void cuda_stream_begin(CUstream stream, CUcontext context, enum sim_order order) {
    stream->context = context;
    stream->queue = (struct sim_stream){.engine = engine_of(context), .context = context, .order = order};
}

CUresult cuda_submit(CUstream stream, struct sim_work work) {
    if (stream->capture) return cuda_capture(stream->capture, work);
    sim_engine_submit(&stream->queue, work, 0);
    return CUDA_SUCCESS;
}

void cuda_stream_wait(CUstream stream) { sim_engine_wait(stream->queue.engine, stream->queue.last); }

CUDA_API CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority) {
    CUDA_ENTER_CONTEXT(context, stream && flags <= 1);
    *stream = calloc(1, sizeof **stream);
    if (!*stream) return CUDA_ERROR_OUT_OF_MEMORY;
    cuda_stream_begin(*stream, context, flags ? SIM_INDEPENDENT : SIM_BLOCKING);
    (*stream)->flags = flags, (*stream)->priority = priority;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
    return cuStreamCreateWithPriority(stream, flags, 0);
}

CUDA_API CUresult cuStreamDestroy_v2(CUstream stream) {
    CUDA_ENTER(stream && stream != CU_STREAM_LEGACY && stream != CU_STREAM_PER_THREAD);
    cuda_stream_wait(stream);
    cuda_capture_forget(stream);
    free(stream);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuStreamDestroy(CUstream stream) { return cuStreamDestroy_v2(stream); }

/* The first parameter is the stream itself, so these do not fit CUDA_BOTH. */
#define OF_STREAM(name, parameters, stream, ...)                                                             \
    CUDA_API CUresult name parameters {                                                                      \
        CUDA_ENTER_STREAM(stream, false);                                                                    \
        return on_##name(resolved, ##__VA_ARGS__);                                                           \
    }                                                                                                        \
    CUDA_API CUresult name##_ptsz parameters {                                                               \
        CUDA_ENTER_STREAM(stream, true);                                                                     \
        return on_##name(resolved, ##__VA_ARGS__);                                                           \
    }

static CUresult on_cuStreamSynchronize(CUstream stream) {
    if (stream->capture) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    cuda_stream_wait(stream);
    cuda_pools_shrink(stream->context->device);
    return cuda_fault(stream->context);
}
static CUresult on_cuStreamQuery(CUstream stream) {
    if (stream->capture) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return sim_engine_ended(stream->queue.engine, stream->queue.last) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
static CUresult on_cuStreamGetFlags(CUstream stream, unsigned *flags) {
    *flags = stream->flags;
    return CUDA_SUCCESS;
}
static CUresult on_cuStreamGetPriority(CUstream stream, int *priority) {
    *priority = stream->priority;
    return CUDA_SUCCESS;
}
static CUresult on_cuStreamGetId(CUstream stream, unsigned long long *id) {
    *id = (uintptr_t)stream;
    return CUDA_SUCCESS;
}
static CUresult on_cuStreamGetCtx(CUstream stream, CUcontext *context) {
    *context = stream->context;
    return CUDA_SUCCESS;
}
/* For what happens on another card the caller waits, here. */
static CUresult on_cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
    (void)flags;
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    if (cuda_capture_wait(stream, event->capture) || stream->capture) return CUDA_SUCCESS;
    struct sim_engine *engine = engine_of(event->context);
    if (engine != stream->queue.engine)
        sim_engine_wait(engine, event->number);
    else if (!sim_engine_ended(engine, event->number))
        sim_engine_submit(&stream->queue, (struct sim_work){0}, event->number);
    return CUDA_SUCCESS;
}
OF_STREAM(cuStreamSynchronize, (CUstream stream), stream)
OF_STREAM(cuStreamQuery, (CUstream stream), stream)
OF_STREAM(cuStreamGetFlags, (CUstream stream, unsigned *flags), stream, flags)
OF_STREAM(cuStreamGetPriority, (CUstream stream, int *priority), stream, priority)
OF_STREAM(cuStreamGetId, (CUstream stream, unsigned long long *id), stream, id)
OF_STREAM(cuStreamGetCtx, (CUstream stream, CUcontext *context), stream, context)
OF_STREAM(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags), stream, event, flags)

struct host_call {
    CUhostFn function;
    void *argument;
};
static void call_host(void *argument, uint64_t time) {
    (void)time;
    struct host_call *call = argument;
    call->function(call->argument);
}
static void call_host_once(void *argument, uint64_t time) {
    call_host(argument, time);
    free(argument);
}
static CUresult on_cuLaunchHostFunc(CUstream stream, CUhostFn function, void *argument) {
    struct host_call *call = function ? malloc(sizeof *call) : NULL;
    if (!call) return function ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
    *call = (struct host_call){function, argument};
    sim_done *done = stream->capture ? call_host : call_host_once;
    return cuda_submit(stream, (struct sim_work){.cost = SIM_HOST_TIME, .done = done, .argument = call});
}
OF_STREAM(cuLaunchHostFunc, (CUstream stream, CUhostFn function, void *argument), stream, function, argument)

CUDA_API CUresult cuEventCreate(CUevent *event, unsigned flags) {
    CUDA_ENTER_CONTEXT(context, event);
    *event = calloc(1, sizeof **event);
    if (!*event) return CUDA_ERROR_OUT_OF_MEMORY;
    (*event)->context = context, (*event)->flags = flags;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuEventDestroy_v2(CUevent event) {
    CUDA_ENTER(event);
    sim_engine_wait(engine_of(event->context), event->number);
    free(event);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuEventDestroy(CUevent event) { return cuEventDestroy_v2(event); }

static void stamp(void *event, uint64_t time) { atomic_store(&((CUevent)event)->time, time); }
static CUresult on_cuEventRecord(CUevent event, CUstream stream) {
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    struct sim_work note = {.done = stamp, .argument = event};
    event->capture = cuda_capture_number(stream);
    if (stream->capture) return cuda_capture(stream->capture, note);
    if ((event->number = sim_engine_pass(&stream->queue, stamp, event))) return CUDA_SUCCESS;
    if (!(event->flags & CU_EVENT_DISABLE_TIMING)) note.cost = SIM_EVENT_NS;
    event->number = sim_engine_submit(&stream->queue, note, 0);
    return CUDA_SUCCESS;
}
static CUresult on_cuEventRecordWithFlags(CUevent event, unsigned flags, CUstream stream) {
    (void)flags;
    return on_cuEventRecord(event, stream);
}
CUDA_BOTH(cuEventRecord, _ptsz, (CUevent event, CUstream stream), stream, event)
CUDA_BOTH(cuEventRecordWithFlags, _ptsz, (CUevent event, CUstream stream, unsigned flags), stream, event,
          flags)

CUDA_API CUresult cuEventQuery(CUevent event) {
    CUDA_ENTER(event);
    if (cuda_fault(event->context) != CUDA_SUCCESS) return cuda_fault(event->context);
    return sim_engine_ended(engine_of(event->context), event->number) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
CUDA_API CUresult cuEventSynchronize(CUevent event) {
    CUDA_ENTER(event);
    sim_engine_wait(engine_of(event->context), event->number);
    cuda_pools_shrink(event->context->device);
    return cuda_fault(event->context);
}
static CUresult elapsed(float *milliseconds, CUevent start, CUevent end) {
    CUDA_ENTER(milliseconds && start && end);
    if ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING || !start->number || !end->number)
        return CUDA_ERROR_INVALID_HANDLE;
    if (cuEventQuery(start) != CUDA_SUCCESS || cuEventQuery(end) != CUDA_SUCCESS) return CUDA_ERROR_NOT_READY;
    *milliseconds = (float)((double)(int64_t)(end->time - start->time) / 1e6);
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end) {
    return elapsed(ms, start, end);
}
CUDA_API CUresult cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end) {
    return elapsed(ms, start, end);
}
