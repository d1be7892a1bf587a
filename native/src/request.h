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

/* Products that do not fit are the largest number, which no budget grants. */
uint64_t times(uint64_t a, uint64_t b);
