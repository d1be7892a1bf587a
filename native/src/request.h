/* Who asks for memory of which card, and how much of it the card gives. */
#pragma once

#include "cards.h"
#include "charges.h"

/* Who asks, and what was taken for it. */
typedef struct {
    card_state state;
    charged own;
} request;

request request_in_context(void); /* of the current context's card */
request request_on(CUdevice device);
request request_at(const CUmemLocation *location); /* free of limits unless it lies on a card */
CUdevice device_at(const CUmemLocation *location); /* -1: on none */

/* What the driver takes for SIZE bytes; its pages are 2 MiB, small memory is counted by 512 bytes. */
uint64_t in_pages(uint64_t size);
