#include "exported.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Numbers are far beyond what anybody else would lock; those of multicast objects are odd. */
#define LEAST_NUMBER (UINT64_C(1) << 61)

enum { MOST_FILES = 4 };

/* The file that descriptors are of (the driver's device), opened once more: through it locks are asked for.
 */
static struct {
    dev_t device;
    ino_t node;
    int descriptor;
} files[MOST_FILES];
static int known_files;

static bool is_file(int descriptor, int file) {
    struct stat is;
    return fstat(descriptor, &is) == 0 && is.st_dev == files[file].device && is.st_ino == files[file].node;
}

/* Which file it is of; -1: it cannot be opened once more. */
static int file_of(int descriptor) {
    char path[32];
    struct stat is;
    for (int file = 0; file < known_files; file++)
        if (is_file(descriptor, file)) return is_file(files[file].descriptor, file) ? file : -1;
    if (known_files == MOST_FILES || fstat(descriptor, &is) != 0) return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    int again = open(path, O_RDWR | O_CLOEXEC);
    if (again < 0) return -1;
    files[known_files].device = is.st_dev;
    files[known_files].node = is.st_ino;
    files[known_files].descriptor = again;
    return known_files++;
}

/* The lock that stands in the way, or F_UNLCK. */
static short other_lock(int descriptor, uint64_t number) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)number, .l_len = 1};
    return fcntl(descriptor, F_OFD_GETLK, &lock) == 0 ? lock.l_type : (short)F_RDLCK;
}

static bool lock(int descriptor, uint64_t number, short type) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)number, .l_len = 1};
    return fcntl(descriptor, F_OFD_SETLK, &lock) == 0;
}

/* One that no other process of the node is likely to choose, and none has. */
static uint64_t new_number(int file, bool multicast) {
    static uint64_t last;
    struct timespec now;
    uint64_t number;
    clock_gettime(CLOCK_MONOTONIC, &now);
    last += (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 30 ^ (uint64_t)getpid() << 40;
    do {
        last = (last ^ last >> 29) * UINT64_C(0x9e3779b97f4a7c15) + 1;
        number = LEAST_NUMBER | (last & (LEAST_NUMBER - 2)) | multicast;
    } while (other_lock(files[file].descriptor, number) != F_UNLCK);
    return number;
}

bool exported_mark(int descriptor, bool multicast, exported *self) {
    int file = file_of(descriptor);
    if (file < 0 || (self->number && self->file != file)) return false;
    exported marked = self->number ? *self : (exported){file, new_number(file, multicast)};
    if (!lock(descriptor, marked.number, F_RDLCK)) return false;
    *self = marked;
    return true;
}

/* The kernel lists the locks of an open file. */
bool exported_read(int descriptor, bool *multicast, exported *self) {
    char path[40], line[256];
    uint64_t number = 0;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", descriptor);
    FILE *locks = fopen(path, "re");
    if (!locks) return false;
    while (number < LEAST_NUMBER && fgets(line, sizeof line, locks))
        if (sscanf(line, "lock: %*s OFDLCK %*s %*s %*s %*s %" SCNu64, &number) != 1) number = 0;
    fclose(locks);
    int file = number >= LEAST_NUMBER ? file_of(descriptor) : -1;
    if (file < 0) return false;
    *self = (exported){file, number};
    *multicast = number & 1;
    return true;
}

void exported_hold(const exported *self) {
    if (is_file(files[self->file].descriptor, self->file))
        lock(files[self->file].descriptor, self->number, F_RDLCK);
}

void exported_let_go(const exported *self) {
    if (is_file(files[self->file].descriptor, self->file))
        lock(files[self->file].descriptor, self->number, F_UNLCK);
}

bool exported_elsewhere(const exported *self) {
    return !is_file(files[self->file].descriptor, self->file) ||
           other_lock(files[self->file].descriptor, self->number) != F_UNLCK;
}

/* The child shares the open files; its parent's locks live until both have ended, as the driver's objects do.
 */
void exported_forked(void) { known_files = 0; }
