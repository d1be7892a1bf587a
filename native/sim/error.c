#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void sim_complain(const char *format, ...) {
    static char last[1024];
    char line[1024] = "nvidia-sim: ";
    size_t used = strlen(line);
    va_list args;
    va_start(args, format);
    vsnprintf(line + used, sizeof line - used - 1, format, args);
    va_end(args);
    strcat(line, "\n");
    if (strcmp(line, last) == 0) return;
    strcpy(last, line);
    ssize_t written = write(STDERR_FILENO, line, strlen(line));
    (void)written; /* nobody to tell */
}
