/* Primary contexts, and what ends with them. */
#pragma once

/* In the child of a fork. */
void primaries_forked(void);
