/* What the native tests share: a check that ends the program, a share's folder, children that are waited for.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../include/ledger.h"

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition);            \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

enum { KIB = 1 << 10, MIB = 1 << 20 };

static inline void write_file(const char *path, const char *content, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    CHECK(fd >= 0 && write(fd, content, size) == (ssize_t)size && close(fd) == 0);
}

/* An empty ledger at PATH. */
static inline void new_ledger(const char *path) {
    write_file(path, "", 0);
    CHECK(truncate(path, LEDGER_SIZE) == 0);
}

/* Zeroed memory that children share. */
static inline void *shared_memory(size_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static inline double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Wait for a child that must end well. */
static inline void ends_well(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static inline void kill_and_wait(pid_t child) {
    kill(child, SIGKILL);
    CHECK(waitpid(child, NULL, 0) == child);
}

/* Run in a process of its own: what the limiter knows of a process it learns once. */
static inline void alone(void (*test)(void)) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        test();
        exit(0);
    }
    ends_well(child);
}
