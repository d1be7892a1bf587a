#include "lock.h"

void lock_take(lock *self) {
    int before = PTHREAD_CANCEL_ENABLE;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    pthread_mutex_lock(&self->mutex);
    if (self->depth++ == 0) self->cancelling = before;
}

void lock_release(lock *self) {
    int before = --self->depth ? PTHREAD_CANCEL_DISABLE : self->cancelling;
    pthread_mutex_unlock(&self->mutex);
    pthread_setcancelstate(before, NULL);
}

void lock_reset(lock *self) { *self = (lock)NEW_LOCK; }
