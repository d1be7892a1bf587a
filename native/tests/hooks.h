/* What the probes of hooks.c share: one for each entry point that the limiter wraps. */
#pragma once

#include "../src/hooks.h"
#include "check.h"

enum { SIZE = 64 * MIB }; /* of what most of them take */

extern const char *tried, *image_file; /* the entry point; a file of SIZE */
extern const ledger_file *book;        /* of the share, in which this process has the first slot */
extern CUcontext context;
extern CUstream stream;
extern size_t limit;      /* of the share */
extern nvmlDevice_t card; /* that it lies on */

static inline uint64_t counted(void) { return book->slots[0].used / LEDGER_UNIT * LEDGER_UNIT; }

/* The function that a program finds under the name. */
void *found(const char *name);
#define CALL(symbol) ((symbol##_type)found(#symbol))

#define CHECK_IT(condition)                                                                                  \
    do {                                                                                                     \
        bool is_so = (condition);                                                                            \
        if (!is_so) fprintf(stderr, "%s: %s: not so\n", tried, #condition);                                  \
        CHECK(is_so);                                                                                        \
    } while (0)

/* One step, and the other when it has succeeded. */
#define THEN(first, second) ((first) ? CUDA_ERROR_OUT_OF_MEMORY : (second))

/* Counted to the byte, refused where it does not fit, and given back to the byte. */
void takes(CUresult (*take)(void), CUresult (*give)(void), uint64_t bytes);

void begin_work(void); /* what is needed to launch */

/* An entry point that takes BYTES, with what frees them; one that gives is tried with what it frees. */
#define TAKES(symbol, bytes, take, give)                                                                     \
    static CUresult take_##symbol(void) { return take; }                                                     \
    static CUresult give_##symbol(void) { return give; }                                                     \
    void probe_##symbol(void);                                                                               \
    void probe_##symbol(void) { takes(take_##symbol, give_##symbol, bytes); }
#define SEE(symbol, other)                                                                                   \
    void probe_##symbol(void);                                                                               \
    void probe_##symbol(void) { probe_##other(); }
