/* What pools hold of the card, which is more than what is allocated from them. */
#pragma once

#include <stdbool.h>

#include "hooks.h"

/* After memory was freed that may have been a pool's. */
void pools_freed(CUdeviceptr pointer);

/* Count each pool by the driver's word; cheap when nothing was freed since. */
void pools_settle(void);

/* Have the driver release what pools and graphs keep without using it; whether that was anything. */
bool pools_reclaim(void);

/* In the child of a fork. */
void pools_forked(void);
