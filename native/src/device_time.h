/*
 * How long work takes on the device: timing events around it, recorded where it is launched and read later by
 * a thread of our own, which begins with the first measurement and sleeps while nothing is measured.
 */
#pragma once

#include "../include/cuda_abi.h"
#include "costs.h"
#include "meter.h"

typedef struct bracket bracket;

/* Before work is launched on STREAM (a real handle or one of the constants), which is IDLE or not: begin to
 * measure it. COUNTED: most such work is only counted. NULL when it cannot be measured. */
bracket *device_time_begin(meter *self, CUstream stream, bool idle, bool counted);

/* After the launch. PREPAID ns were billed for it, as the PLACE-th in the order of submission. False when it
 * cannot be measured, so that nobody will settle it. */
bool device_time_end(bracket *self, CUstream stream, cost *what, uint64_t prepaid, uint64_t place);

/* The launch failed. */
void device_time_cancel(bracket *self);

/* Read what has ended; does nothing when another thread is at it. Never waits for the device. */
void device_time_look(void);

/* A context is about to end: what has ended in it is read, and its events are not touched any more ... */
void device_time_closing(CUcontext context);
/* ... unless it has not ENDED after all. */
void device_time_closed(CUcontext context, bool ended);

/* Whether work on STREAM is recorded instead of done. */
bool device_time_capturing(CUstream stream);

/* Whether all work on STREAM, which does not capture, has ended. */
bool device_time_idle(CUstream stream);

/* Whether any of the work that is measured has not been seen to end. */
bool device_time_running(void);

/* In the child of a fork. */
void device_time_forked(void);
