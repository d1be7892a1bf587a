/* A thread of the limiter's own in somebody else's program. */
#pragma once

#include <stdbool.h>

/* Run it beside the program, whose signals belong to its own threads; a fault is everybody's own
 * (ledger_guard.h). False when there is no thread to be had. */
bool background_start(void *(*run)(void *));
