/* The C library's own functions, past every interposer of the same name, our own exports among them. */
#pragma once

/* A function of libc.so.6 or of the older libdl.so.2; NULL when neither is loaded, as in a musl program. */
void *libc_symbol(const char *name);
