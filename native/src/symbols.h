/* The names that we export, for what is bound past them. */
#pragma once

/* Our function of that name, NULL when we export none. */
void *exported_function(const char *name);
/* What a library gets for such a name that does not find ours. */
void *exported_function_of_others(const char *name);

/* Turns what the library behind a handle, and all that was loaded with it, imports of those names to us. */
void turn_to_us(void *handle);
