/*
 * The table of what is being measured, between those who launch work (device_time.c) and the one who reads
 * what it took (device_time_read.c).
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../include/cuda_abi.h"
#include "costs.h"
#include "meter.h"
#include "overlap.h"
#include "turns.h"

enum { MOST_LANES = 32, MOST_BRACKETS = 64, LANE_SOMEWHERE_NS = 1000000000 };

/* GONE: its context ended while a thread was about to launch in it. */
typedef enum { FREE, BEGUN, GONE, RUNNING } bracket_state;

typedef struct bracket {
    struct lane *lane;
    _Atomic int state;
    CUevent start, end;
    const void *stream; /* only to be compared */
    unsigned holds;     /* of the meter, when it was launched */
    bool counted;       /* work of its kind is only counted, but for some that is measured as this is */
    cost *what;
    uint64_t prepaid, place;
    uint64_t launched_at; /* host time, where the stream was idle; 0 where it was not */
    uint64_t idle_ns;     /* what the device waited for us after `start` */
    /* Of the thread that looks. */
    bool started, ended;
    uint64_t start_at, length; /* device time */
} bracket;

/* The measurements of one context, whose device times compare with each other. */
typedef struct lane {
    CUcontext context; /* NULL: free */
    meter *meter;
    bool closing;
    CUevent base; /* device time `base_at` */
    uint64_t base_at;
    uint64_t covered; /* device time up to which work is accounted for */
    uint64_t told;    /* the same, of what the ledger knows of presence on the card */
    turns turns;      /* of others, that may lie in what was measured */
    overlap streams;  /* how their work overlaps */
    int64_t ahead;    /* of host time before device time, as far as seen */
    bracket brackets[MOST_BRACKETS];
} lane;

extern lane lanes[MOST_LANES];
extern pthread_mutex_t lanes_mutex;   /* of the table; never held over a driver call */
extern pthread_mutex_t lanes_looking; /* held while events are read */
extern pthread_cond_t lanes_work;     /* there is something to look at */
extern _Atomic int lanes_running;     /* brackets in state RUNNING */
extern _Atomic bool lanes_over;       /* the program is at its end: nobody looks any more */

/* The driver's functions, looked up once. */
#define LANE_CALLS(CALL)                                                                                     \
    CALL(cuCtxGetCurrent, (CUcontext *))                                                                     \
    CALL(cuCtxPushCurrent_v2, (CUcontext))                                                                   \
    CALL(cuCtxPopCurrent_v2, (CUcontext *))                                                                  \
    CALL(cuEventCreate, (CUevent *, unsigned int))                                                           \
    CALL(cuEventRecord, (CUevent, CUstream))                                                                 \
    CALL(cuEventQuery, (CUevent))                                                                            \
    CALL(cuEventElapsedTime, (float *, CUevent, CUevent))                                                    \
    CALL(cuStreamQuery, (CUstream))                                                                          \
    CALL(cuStreamIsCapturing, (CUstream, CUstreamCaptureStatus *))                                           \
    CALL(cuThreadExchangeStreamCaptureMode, (CUstreamCaptureMode *))

typedef struct {
#define CALL(name, parameters) CUresult(*name) parameters;
    LANE_CALLS(CALL)
#undef CALL
} lane_calls;
extern lane_calls lane_driver;

/* Whether the driver has them all; before any of them is called. */
bool lanes_usable(void);

/* While a stream captures, calls like cuEventQuery are forbidden to threads that do not say that they know.
 */
CUstreamCaptureMode lanes_relax(CUstreamCaptureMode mode);

/* A bracket of the current context, BEGUN; NULL when there is none free. */
bracket *lanes_take_bracket(meter *of);

/* Read what has ended, with lanes_looking held; and again and again as long as anything runs, in a thread. */
void lanes_look(void);
void *lanes_poll(void *nothing);
