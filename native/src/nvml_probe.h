/* What NVML says of a card, asked by the limiter itself. */
#pragma once

#include <stdint.h>

/* Bytes in use on the card with this UUID: this process's own where the driver lists it, else the card's. */
uint64_t nvml_used_bytes(const char *uuid);
