#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST_FILE = 2048 };
enum { HAS_VERSION = 1, HAS_SHARE = 2, HAS_DEVICE = 4, HAS_MEMORY = 8, HAS_ALL = 15 };

/* Whole decimal number up to MOST, nothing else. */
static bool number(const char *text, uint64_t most, uint64_t *value) {
    if (*text < '0' || *text > '9') return false;
    char *end;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (errno || *end || parsed > most) return false;
    *value = parsed;
    return true;
}

static bool copy_id(const char *text, char *into) {
    size_t length = strlen(text);
    if (length == 0 || length >= LIMITS_ID) return false;
    memcpy(into, text, length + 1);
    return true;
}

/* Take one key=value; the bit of a required key, 0 for an unknown one, -1 for a bad value. */
static int take(const char *key, const char *value, limits *into) {
    uint64_t parsed = 0;
    if (strcmp(key, "version") == 0) return number(value, 1, &parsed) && parsed == 1 ? HAS_VERSION : -1;
    if (strcmp(key, "share") == 0) return copy_id(value, into->share) ? HAS_SHARE : -1;
    if (strcmp(key, "device") == 0) return copy_id(value, into->device) ? HAS_DEVICE : -1;
    if (strcmp(key, "memory") == 0) {
        if (!number(value, INT64_MAX, &parsed)) return -1;
        into->memory = parsed;
        return HAS_MEMORY;
    }
    if (strcmp(key, "cores") == 0) {
        if (!number(value, 100, &parsed)) return -1;
        into->cores = (unsigned)parsed;
    }
    if (strcmp(key, "oversubscribe") == 0) {
        if (!number(value, 1, &parsed)) return -1;
        into->oversubscribe = parsed == 1;
    }
    if (strcmp(key, "log_level") == 0) {
        if (!number(value, 4, &parsed)) return -1;
        into->log_level = (int)parsed;
    }
    if (strcmp(key, "cores_policy") == 0) {
        into->soft = strcmp(value, "soft") == 0;
        if (!into->soft && strcmp(value, "hard") != 0) return -1;
    }
    return 0;
}

int limits_parse(const char *text, size_t length, limits *into, char *why, size_t why_size) {
    *into = (limits){.log_level = -1};
    int found = 0, line_number = 0;
    for (const char *at = text, *end = text + length; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((stop ? stop : end) - at);
        char line[256];
        line_number++;
        if (size >= sizeof line) {
            snprintf(why, why_size, "line %d is too long", line_number);
            return -EINVAL;
        }
        memcpy(line, at, size);
        line[size] = 0;
        at += size + 1;
        if (size == 0) continue;
        char *equals = strchr(line, '=');
        if (!equals) {
            snprintf(why, why_size, "line %d is not key=value", line_number);
            return -EINVAL;
        }
        *equals = 0;
        int bit = take(line, equals + 1, into);
        if (bit < 0) {
            snprintf(why, why_size, "line %d: %s has a value that cannot be used", line_number, line);
            return -EINVAL;
        }
        found |= bit;
    }
    if (found != HAS_ALL) {
        snprintf(why, why_size, "version, share, device and memory are not all given");
        return -EINVAL;
    }
    return 0;
}

int limits_read(const char *path, limits *into, char *why, size_t why_size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int problem = errno;
        snprintf(why, why_size, "cannot be read (%s)", strerror(problem));
        return -problem;
    }
    char text[LARGEST_FILE];
    size_t length = 0;
    ssize_t got = 0;
    while (length < sizeof text && (got = read(fd, text + length, sizeof text - length)) > 0)
        length += (size_t)got;
    close(fd);
    if (got < 0 || length == sizeof text) {
        snprintf(why, why_size, "cannot be read or is too long");
        return -EIO;
    }
    return limits_parse(text, length, into, why, why_size);
}
