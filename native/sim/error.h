/* The one place that writes to stderr: a library has no other way to say what is wrong with its files. */
#pragma once

/* Writes "nvidia-sim: TEXT" as one line, unless this process has said the same as its last line. */
__attribute__((format(printf, 1, 2))) void sim_complain(const char *format, ...);
