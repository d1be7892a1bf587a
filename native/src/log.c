#include "log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static _Atomic int share_level = -1;

void log_set_level(int level) { share_level = level; }

/* LIBCUDA_LOG_LEVEL, else what the share says, else messages for a person and errors for a file. */
static int wanted_level(void) {
    const char *level = getenv("LIBCUDA_LOG_LEVEL");
    if (level && *level) return atoi(level);
    if (share_level >= 0) return share_level;
    return isatty(STDERR_FILENO) ? LOG_MESSAGE : LOG_ERROR;
}

void log_write(int level, const char *file, int line, const char *format, ...) {
    int saved = errno;
    if (level <= wanted_level()) {
        char text[512];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        /* One write, so that lines of several processes do not mix. */
        dprintf(STDERR_FILENO, "[HAMI-core %s(%d:%lu:%s:%d)]: %s\n", level == LOG_ERROR ? "ERROR " : "Msg",
                getpid(), (unsigned long)pthread_self(), file, line, text);
    }
    errno = saved;
}
