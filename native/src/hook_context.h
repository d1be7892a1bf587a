/* Contexts, and what ends with them. */
#pragma once

/* In the child of a fork. */
void contexts_forked(void);
