/* The C library's own functions, past every interposer of the same name, our own exports among them. */
#pragma once

/* A function of libc, or of the libpthread and libdl of older ones where they are loaded; NULL when there is
 * none. */
void *libc_symbol(const char *name);
