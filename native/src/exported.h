/*
 * Who else holds what left this process through a descriptor. The driver keeps an object alive for as long as
 * a descriptor of it is open anywhere, and nobody can ask it whether one is. But a file lock tells: each
 * exported descriptor is given one, on a byte of its file that is the object's number. Copies of the
 * descriptor, in other processes and on their way there as well, share the lock, and the kernel drops it when
 * the last of them is closed. Nothing of the program or the driver looks at these locks. Policy only; one
 * thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What an object is called. All zeros: it was never exported. */
typedef struct {
    int file; /* of those that descriptors were seen of, which is one */
    uint64_t number;
} exported;

/* Mark a new descriptor of the object, which gets its number with the first; false when it cannot be marked:
 * the file takes no locks, or /proc is not there. */
bool exported_mark(int descriptor, bool multicast, exported *self);

/* What a descriptor of this or another process was marked with, and whether a multicast object; false:
 * nothing. */
bool exported_read(int descriptor, bool *multicast, exported *self);

/* Tell others that this process holds the object, or no longer. */
void exported_hold(const exported *self);
void exported_let_go(const exported *self);

/* Whether a descriptor is open, or another process holds it; true when that cannot be known any more. */
bool exported_elsewhere(const exported *self);

/* In the child of a fork. */
void exported_forked(void);
