/*
 * A lock that may be held over calls of the driver, which can take long and do anything. A tool that the
 * driver tells of a call may make others from there: the thread that holds the lock can take it again. And
 * such calls are where threads are cancelled: none is while it holds a lock, which would be nobody's then.
 */
#pragma once

#include <pthread.h>

typedef struct {
    pthread_mutex_t mutex;
    int depth;      /* how often its thread has taken it */
    int cancelling; /* whether that thread could be cancelled before */
} lock;

#define NEW_LOCK {.mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP}

void lock_take(lock *self);
void lock_release(lock *self);

/* As new: in the child of a fork, where a thread of the parent's may have held it. */
void lock_reset(lock *self);
