/* Shared by the files of the simulated libcuda: process, contexts, streams, allocations. */
#pragma once

#include <pthread.h>

#include "cuda_abi.h"
#include "engine.h"
#include "shared.h"

#define CUDA_API __attribute__((visibility("default")))

enum { SIM_THREADS = 1536, SIM_BLOCKS = 16 }; /* that run on a multiprocessor at once, at most */

/* A card as this process sees it; CUdevice is the index. */
struct cuda_device {
    struct sim_gpu *gpu;
    struct sim_engine *engine;
    CUcontext primary;
    int primary_users;
    unsigned primary_flags;
    uint64_t graph_reserved, graph_used; /* memory of graphs: taken, and in use by executable ones */
};

struct cuda_process {
    bool ready, forked; /* forked: a child of a process that had called cuInit, where CUDA cannot work */
    struct sim_node *node;
    int slot, devices;
    struct cuda_device device[SIM_MAX_GPUS];
    pthread_mutex_t mutex; /* guards contexts, allocations and pools */
};
extern struct cuda_process cuda;

struct CUstream_st {
    CUcontext context;
    unsigned flags;
    int priority;
    struct sim_stream queue;
    CUgraph capture; /* not NULL between BeginCapture and EndCapture */
    uint64_t capture_number;
    bool joined;       /* the capture, which another stream began */
    CUstream captures; /* the next in any capture */
};

struct CUctx_st {
    CUdevice device;
    _Atomic CUresult fault; /* of a kernel: from then on every call in the context returns it */
    CUcontext of;           /* of a green one: the primary, whose memory it uses; NULL: its own */
    unsigned flags;
    bool primary;
    int attached;    /* uses beyond the first */
    size_t limit[3]; /* stack size, printf buffer, heap: what is above the usual takes memory of the card */
    uint64_t limit_bytes;
    struct CUstream_st legacy, per_thread; /* the two default streams */
};

/* Result when cuInit has not run (or the process is a fork), else CUDA_SUCCESS. */
CUresult cuda_usable(void);
struct cuda_device *cuda_device(CUdevice device);

/* Takes or gives back bytes of the card's memory. */
CUresult cuda_take(CUdevice device, uint64_t bytes);
void cuda_give(CUdevice device, uint64_t bytes);

/* Lets other processes hold memory that this one took, which is then given back by sim_shared_let_go. */
bool cuda_share(CUdevice device, uint64_t bytes, struct sim_piece *piece);
/* Holds what another process shares; the device that it lies on, negative when it is gone or not visible. */
CUdevice cuda_hold(struct sim_piece piece, uint64_t *bytes);
void cuda_let_go(struct sim_piece piece);

/* The current context of this thread, NULL without one; another one is until it is left. */
CUcontext cuda_current(void);
CUresult cuda_enter(CUcontext context);
void cuda_leave(CUcontext context); /* nothing, where it is not the current one */

CUcontext cuda_owner(CUcontext context); /* of what is allocated in it */
CUresult cuda_fault(CUcontext context);  /* CUDA_SUCCESS as long as no kernel has failed in it */

/* The stream behind a handle, for NULL and the constants a default stream of the current context; NULL
 * without one. */
CUstream cuda_stream(CUstream stream, bool per_thread);

/* Queues work on a stream, or adds it to the graph that the stream captures. */
CUresult cuda_submit(CUstream stream, struct sim_work work);
void cuda_stream_wait(CUstream stream);
void cuda_stream_begin(CUstream stream, CUcontext context, enum sim_order order);

CUDA_API CUresult cuGraphCreate(CUgraph *graph, unsigned flags);

/* Adds an operation to a graph, where it may run any number of times: `done` must not free its argument. */
CUresult cuda_capture(CUgraph graph, struct sim_work work);

/* The number of the capture that the stream is in, 0: none; work that waits for an event of it joins it,
 * which is told. */
uint64_t cuda_capture_number(CUstream stream);
bool cuda_capture_wait(CUstream stream, uint64_t number);
void cuda_capture_forget(CUstream stream);

/* Stream-ordered memory in a capture becomes nodes of the graph. */
CUresult cuda_capture_allocation(CUgraph graph, CUdevice device, size_t size, CUdeviceptr *pointer);
CUresult cuda_capture_free(CUgraph graph, CUdeviceptr pointer);

/* What a launch takes of the card. */
struct sim_work cuda_kernel_work(CUdevice device, CUfunction function, uint64_t blocks, uint64_t threads,
                                 void **parameters, void **extra);

/* Begins a function: returns from it unless CUDA is usable. */
#define CUDA_ENTER(condition)                                                                                \
    do {                                                                                                     \
        CUresult usable = cuda_usable();                                                                     \
        if (usable != CUDA_SUCCESS) return usable;                                                           \
        if (!(condition)) return CUDA_ERROR_INVALID_VALUE;                                                   \
    } while (0)

/* The same, for functions that need a current context, which it declares. */
#define CUDA_ENTER_CONTEXT(context, condition)                                                               \
    CUDA_ENTER(condition);                                                                                   \
    CUcontext context = cuda_current();                                                                      \
    if (!context) return CUDA_ERROR_INVALID_CONTEXT;                                                         \
    if (cuda_fault(context) != CUDA_SUCCESS) return cuda_fault(context)

/* Begins what works on a stream that was asked for, which it declares as `resolved`. */
#define CUDA_ENTER_STREAM(stream, per_thread)                                                                \
    CUDA_ENTER(true);                                                                                        \
    CUstream resolved = cuda_stream(stream, per_thread);                                                     \
    if (!resolved) return CUDA_ERROR_INVALID_CONTEXT;                                                        \
    if (cuda_fault(resolved->context) != CUDA_SUCCESS) return cuda_fault(resolved->context)

/*
 * Exports `name` and its per-thread variant (suffix _ptsz or _ptds), which differ only in what stream NULL
 * means. Both call on_<name>, which gets the resolved stream as its last argument.
 */
#define CUDA_BOTH(name, suffix, parameters, stream, ...)                                                     \
    CUDA_API CUresult name parameters {                                                                      \
        CUDA_ENTER_STREAM(stream, false);                                                                    \
        return on_##name(__VA_ARGS__, resolved);                                                             \
    }                                                                                                        \
    CUDA_API CUresult name##suffix parameters {                                                              \
        CUDA_ENTER_STREAM(stream, true);                                                                     \
        return on_##name(__VA_ARGS__, resolved);                                                             \
    }
