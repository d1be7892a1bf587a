/* Failures of the simulated cards, as the file `<state>.faults` says: README.md, "Faults". */
#pragma once

#include <stdbool.h>

#include "config.h"

/* Whether the file says that the card has fallen off the bus. */
bool sim_fault_lost(const struct sim_gpu *gpu);

/* The recovery action that the file says the card needs (NVML_GPU_RECOVERY_ACTION_*), 0: none. */
unsigned sim_fault_recovery(const struct sim_gpu *gpu);

/* Number of events (`xid`, `ecc`) in the file now: where a new event set begins to listen. */
unsigned sim_fault_events(void);

struct sim_fault_event {
    char uuid[80];
    unsigned long long type; /* nvmlEventType* */
    unsigned code;           /* of an XID */
};

/* The event with that number, counted from 0; false when there is none yet. */
bool sim_fault_event(unsigned number, struct sim_fault_event *event);
