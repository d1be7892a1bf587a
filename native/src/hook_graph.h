/* Memory that graphs allocate when they run. */
#pragma once

#include <stdbool.h>

/* Have the driver release what graphs keep without using it; whether that was anything. */
bool graphs_trim(void);

/* In the child of a fork. */
void graphs_forked(void);
