/*
 * Named places at which a test stops, kills or forks the process (native/tests), and deliberately wrong
 * variants of the limiter that the tests must catch. In the library both are nothing at all.
 */
#pragma once

#ifdef FAILPOINTS
void failpoint(const char *place);
#define FAILPOINT(place) failpoint(place)
#else
#define FAILPOINT(place) ((void)0)
#endif

/* -DWRONG_VARIANT=WRONG_... builds one of them. */
enum {
    WRONG_NOT,
    WRONG_CHECK_THEN_TAKE,     /* requests are not published before they are counted */
    WRONG_USED_BEFORE_PENDING, /* slots are read in the other order */
    WRONG_CHARGE_AFTER,        /* the driver is asked before the share */
    WRONG_REFUND_TWICE,        /* a free gives back twice what it took */
    WRONG_KEEP_REFUSED,        /* what the driver refused stays charged */
    WRONG_REFUND_MAPPED,       /* releasing a handle gives back memory that is still mapped */
    WRONG_REFUND_BOUND,        /* ... or bound to a multicast object */
    WRONG_REFUND_EXPORTED,     /* ... or kept by a descriptor */
    WRONG_REFUND_POOLED,       /* freeing into a pool gives back what the pool keeps */
    WRONG_FREE_MANAGED_POOL,   /* pools of managed memory are not counted unless they name a card */
    WRONG_UNROUNDED,           /* bytes are charged as asked for, not in pages */
    WRONG_FREE_CONTEXT,        /* contexts are not counted */
    WRONG_FREE_CODE,           /* modules and libraries are not counted */
    WRONG_KEEP_DEAD,           /* what dead processes held is never free again */
    WRONG_FREE_EXCESS,         /* what the node's agent booked for processes is not counted */
};
#ifndef WRONG_VARIANT
#define WRONG_VARIANT WRONG_NOT
#endif
#define WRONG(variant) (WRONG_VARIANT == WRONG_##variant)
