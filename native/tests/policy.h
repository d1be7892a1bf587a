/* The parts of the program `policy`, by subject. */
#pragma once

#include "check.h"

/* A path in the folder that the program was given; good for the next three calls. */
const char *in_folder(const char *name);

/* Make a share in the folder SHARES; MORE are further lines of its limits. */
void add_share(const char *shares, const char *name, const char *device, uint64_t memory, const char *more);

void test_limits(void);
void test_ledger(void);
void test_excess(void);
void test_budget(void);
void test_charges(void);
void test_held(void);
void test_code(void);
void test_graphs(void);
