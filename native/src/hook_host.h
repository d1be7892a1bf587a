/* Oversubscription: what does not fit a share is served from host memory that the card reaches. */
#pragma once

#include <stdbool.h>

#include "hooks.h"

/* Try so when the shares of the current card say `oversubscribe`; REFUSAL when they do not, or it cannot be
 * had. */
CUresult host_serve(CUresult refusal, CUdeviceptr *pointer, size_t size);

/* Whether POINTER was served so; stream-ordered frees do not take it. */
bool host_served(CUdeviceptr pointer);
