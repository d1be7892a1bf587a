/* The `limits` file of a share (docs/interfaces.md). Policy only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { LIMITS_ID = 64 };

typedef struct {
    char share[LIMITS_ID];
    char device[LIMITS_ID]; /* NVML UUID of the card */
    bool oversubscribe;     /* what goes beyond memory is served from host memory */
    int log_level;          /* 0..4; -1: the limiter's own */
    /* These change while threads read them (budget.c). */
    _Atomic uint64_t memory; /* bytes */
    _Atomic unsigned cores;  /* percent, 0: nothing reserved */
    _Atomic bool soft;       /* may use idle compute above `cores` */
} limits;

/* Parse LENGTH bytes of TEXT; 0, or -EINVAL with the reason in WHY. */
int limits_parse(const char *text, size_t length, limits *into, char *why, size_t why_size);

/* Read and parse a file; 0, -errno of reading, or -EINVAL with the reason in WHY. */
int limits_read(const char *path, limits *into, char *why, size_t why_size);
