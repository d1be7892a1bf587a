/* Oversubscription: what does not fit a share is served from host memory that the card reaches. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hooks.h"

/* Try so when the shares of the current card say `oversubscribe`; REFUSAL when they do not, or it cannot be
 * had. */
CUresult host_serve(CUresult refusal, CUdeviceptr *pointer, size_t size);

/* Whether POINTER was served so, which is about to be freed; stream-ordered frees do not take it. */
bool host_served(CUdeviceptr pointer);

/* A context has ended, and what was served in it. */
void host_ended(uint64_t owner);

/* In the child of a fork. */
void host_forked(void);
