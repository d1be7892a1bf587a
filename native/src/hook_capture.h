/* Which launches may be recorded instead of done. */
#pragma once

#include <stdatomic.h>

/* Streams in capture now, as far as known: while there are any, each launch asks the driver about its own. */
extern _Atomic int captures;
