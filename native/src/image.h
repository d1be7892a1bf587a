/* How much code is in what a program gives the driver to load. Policy only. */
#pragma once

#include <stdint.h>

/*
 * Bytes of the code in IMAGE: a cubin, PTX, or a fat binary with or without its wrapper, of which the driver
 * takes one entry: the largest is meant. 0 for NULL. Reads what the driver reads, at most.
 */
uint64_t image_bytes(const void *image);

/* The same of a file; 0 when there is none. */
uint64_t image_file_bytes(const char *path);
