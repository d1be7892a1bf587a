/* The parts of the program `computing`, and the card on which its launches run. */
#pragma once

#include "../src/budget.h"
#include "../src/code.h"
#include "../src/device_time.h"
#include "../src/hook_launch.h"
#include "../src/hooks.h"
#include "../src/overlap.h"
#include "../src/turns.h"
#include "check.h"

#define MS    UINT64_C(1000000)
#define LATER UINT64_C(1000000000000) /* when all tests begin */
enum { ENDLESS_NS = 2000000000 };

struct CUstream_st {
    uint64_t free_at; /* when its work so far will have ended */
    unsigned recorded;
    bool captures;
};
struct CUfunc_st {
    uint64_t ns; /* that it computes */
};

/*
 * A card that is all the test's: its driver is in computing_card.c, and time passes only while somebody calls
 * the driver or sleeps. So what is charged is known to the nanosecond, however busy the machine is. Streams
 * work beside each other. What a child of a test changes is forgotten with it.
 */
typedef struct {
    uint64_t now;     /* of the one clock there is */
    bool in_turn;     /* one kernel fills the card: those of all streams wait for each other */
    uint64_t free_at; /* when all work so far will have ended */
    uint64_t work_ns; /* of all kernels so far */
    uint64_t busy_ns; /* in which anything ran */
    unsigned stretch; /* work takes so many times as long, since others compute as well */
    CUresult refuses; /* what launches and captures end with */
    int asked;        /* how often whether a stream captures */
    int touched;      /* a stream in capture by anything but that question and launches */
    int events;       /* that can still be made */
    int records;      /* of events that still succeed */
    CUcontext context;
    void (*slept)(void);    /* called at each sleep */
    void (*recorded)(void); /* called when an event was recorded */
} test_card;
extern test_card gpu;
extern share only;          /* of the card */
extern ledger_file account; /* its ledger */
extern bool no_ledger;
extern int budgets; /* of two cards, of which work runs on the second */

/* The stream that is meant, NULL by an entry point of the per-thread kind or not. */
CUstream stream_of(CUstream stream, bool per_thread);

/* Wait for it, while what has ended is read from time to time as by the limiter's thread. */
void synchronize(CUstream stream);
void pass(uint64_t ns);

/* Launch FUNCTION by the usual entry point. */
CUresult launch(CUfunction function, CUstream stream);

/* What the only share has been billed so far. */
static inline uint64_t billed(void) { return atomic_load(&account.compute_ns); }

/* The agent's word, now. */
static inline void hinted(uint32_t rate, uint32_t part) {
    atomic_store(&account.hint.rate, rate), atomic_store(&account.hint.part, part);
    atomic_store(&account.hint.at, gpu.now);
}

/* Run in a process of its own, with CORES reserved. */
void with_cores(unsigned cores, void (*test)(void));

void test_learnt(void);
void test_launches(void);
void test_bills(void);
void test_contexts(void);
void test_captures(void);
