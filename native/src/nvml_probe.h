/* What NVML says of a card, asked by the limiter itself. */
#pragma once

#include <stdint.h>

typedef struct {
    uint64_t process; /* 0 where the driver does not list this process: as long as it holds nothing, or in a
                         PID namespace of its own */
    uint64_t card;    /* of all processes, and what the driver keeps for itself; asked only where
                         `process` is 0 */
} nvml_used;

/* Bytes in use on the card with this UUID; zeros when nothing can be learnt. */
nvml_used nvml_used_bytes(const char *uuid);
