/* The C library's own functions, past every interposer of the same name, our own exports among them. */
#pragma once

#include <link.h>

/* Most loaders have made the addresses in the dynamic section absolute, some have not. */
static inline const void *elf_address(ElfW(Addr) base, ElfW(Addr) at) {
    return (const void *)(at < base ? base + at : at);
}

/* A function of libc, or of the libpthread and libdl of older ones where they are loaded; NULL when there is
 * none. */
void *libc_symbol(const char *name);
