#include "exported.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state.h"

static int locks_fd = -1;

void sim_exported_open(const char *state_path) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.exported", state_path);
    locks_fd = open(path, O_RDWR | O_CLOEXEC);
    if (locks_fd >= 0) return;
    locks_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, SIM_STATE_MODE);
    if (locks_fd >= 0) fchmod(locks_fd, SIM_STATE_MODE); /* whatever the umask says */
}

static struct flock byte(short type, uint32_t place) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = place, .l_len = 1};
}

/* Which piece it is stands in its position, which copies share as well. */
int sim_exported_descriptor(uint32_t place, uint32_t number) {
    char path[32];
    struct flock lock = byte(F_RDLCK, place);
    snprintf(path, sizeof path, "/proc/self/fd/%d", locks_fd);
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return -1;
    if (fcntl(descriptor, F_OFD_SETLK, &lock) == 0 &&
        lseek(descriptor, (off_t)number * SIM_SHARED + place, SEEK_SET) >= 0)
        return descriptor;
    close(descriptor);
    return -1;
}

bool sim_exported_read(int descriptor, uint32_t *place, uint32_t *number) {
    struct stat ours, its;
    if (fstat(locks_fd, &ours) != 0 || fstat(descriptor, &its) != 0) return false;
    if (ours.st_dev != its.st_dev || ours.st_ino != its.st_ino) return false;
    off_t position = lseek(descriptor, 0, SEEK_CUR);
    *place = (uint32_t)(position % SIM_SHARED);
    *number = (uint32_t)(position / SIM_SHARED);
    return position >= 0;
}

bool sim_exported_is_open(uint32_t place) {
    struct flock lock = byte(F_WRLCK, place);
    return fcntl(locks_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}
