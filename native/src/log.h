/* What the limiter says, on stderr only and only where somebody wants to read it. */
#pragma once

/* The lines of the guide: shown when stderr is a terminal or LIBCUDA_LOG_LEVEL is 2 or more. */
#define log_message(...) log_write(LOG_MESSAGE, __FILE_NAME__, __LINE__, __VA_ARGS__)
/* Why CUDA calls are refused: shown unless LIBCUDA_LOG_LEVEL is 0. */
#define log_error(...) log_write(LOG_ERROR, __FILE_NAME__, __LINE__, __VA_ARGS__)

#ifndef __FILE_NAME__
#define __FILE_NAME__ (__builtin_strrchr(__FILE__, '/') ? __builtin_strrchr(__FILE__, '/') + 1 : __FILE__)
#endif

/* What the shares of this container ask for; -1: nothing. */
void log_set_level(int level);

enum { LOG_ERROR = 1, LOG_MESSAGE = 2 };

__attribute__((format(printf, 4, 5))) void log_write(int level, const char *file, int line,
                                                     const char *format, ...);
