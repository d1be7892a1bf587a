/* The table by the address of a driver function, and by name when the driver hands out another address. */
#pragma once

#include <stdbool.h>

bool is_wrapped(const char *name);
void *wrapper_of_address(void *function);
/* Also takes FUNCTION as the real one of NAME from now on. */
void *wrapper_of_name(const char *name, void *function);
