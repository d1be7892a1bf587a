/*
 * The file of a ledger, and the locks by which processes hold its slots. The lock lives on a description of
 * its own, never mapped: a mapping would keep it alive after close.
 */
#include "ledger_slots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "failpoint.h"
#include "ledger_guard.h"

/* Open-file-description locks: Linux 3.15; older C libraries do not name them. */
#ifndef F_OFD_SETLK
#define F_OFD_SETLK 37
#endif

/* How long a file is trusted to be as it was. */
static const uint64_t TRUST_NS = 50 * 1000 * 1000;

void ledger_init(ledger *self, const char *path) {
    memset(self, 0, sizeof *self);
    snprintf(self->path, sizeof self->path, "%s", path);
    self->lock_fd = -1;
    self->slot = -1;
    lock_reset(&self->lock);
}

bool ledger_lock_slot(int fd, int slot, short type) {
    struct flock range = {
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = LEDGER_HEADER + (off_t)slot * LEDGER_SLOT_BYTES,
        .l_len = LEDGER_SLOT_BYTES,
    };
    return fcntl(fd, F_OFD_SETLK, &range) == 0;
}

void ledger_clear_slot(ledger_file *file, uint32_t number) {
    ledger_slot *slot = &file->slots[number];
    for (uint32_t i = 0, count = ledger_excesses(file); i < count; i++)
        if (atomic_load(&file->excess[i].slot) == number) atomic_store(&file->excess[i].pid, 0);
    atomic_store(&slot->pid, 0);
    atomic_store(&slot->pending, 0);
    atomic_store(&slot->used, 0);
    atomic_store(&slot->refused, 0);
    atomic_store(&slot->active_s, 0);
    atomic_store(&slot->compute_ns, 0);
    atomic_store(&slot->throttled_ns, 0);
}

static int map_file(ledger *self) {
    int fd = open(self->path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return -errno;
    struct stat status;
    uint64_t magic = 0, none = 0;
    int problem = 0;
    void *at = MAP_FAILED;
    if (fstat(fd, &status) != 0)
        problem = -errno;
    else if (!S_ISREG(status.st_mode) || status.st_size != LEDGER_SIZE)
        problem = -EPROTO;
    else if (pread(fd, &magic, sizeof magic, 0) != sizeof magic || (magic && magic != LEDGER_MAGIC))
        problem = -EPROTO;
    else if ((at = mmap(NULL, LEDGER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        problem = errno == ENOMEM ? -ENOBUFS : -errno; /* -ENOMEM is a share that is full */
    close(fd);
    if (problem) return problem;
    ledger_guard(at);
    self->device = status.st_dev;
    self->inode = status.st_ino;
    self->file = at;
    atomic_compare_exchange_strong(&self->file->magic, &none, LEDGER_MAGIC);
    return 0;
}

/* Whether the descriptor is still the file that was mapped, and that as long as it was: a program may close
 * descriptors that it never opened. */
static int look_at_file(const ledger *self) {
    struct stat status;
    if (fstat(self->lock_fd, &status) != 0 || status.st_dev != self->device || status.st_ino != self->inode)
        return -ESTALE;
    return status.st_size == LEDGER_SIZE ? 0 : -ESTALE;
}

static uint64_t coarse_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int ledger_give_up(ledger *self, int problem) {
    self->broken = problem;
    return problem;
}

int ledger_open(ledger *self) {
    if (self->broken) return self->broken;
    if (!self->file) {
        int problem = map_file(self);
        if (problem) return problem;
    }
    if (self->lock_fd < 0) {
        self->lock_fd = open(self->path, O_RDWR | O_CLOEXEC);
        if (self->lock_fd < 0) return -errno;
        self->checked = 0; /* look at it at once */
    }
    if (!ledger_is_whole(self)) return ledger_give_up(self, -ESTALE);
    uint64_t now = coarse_ns();
    if (now - self->checked < TRUST_NS) return 0;
    self->checked = now;
    int problem = look_at_file(self);
    return problem ? ledger_give_up(self, problem) : 0;
}

static void raise_high(ledger_file *file, uint32_t to) {
    uint32_t high = atomic_load(&file->high);
    while (high < to && !atomic_compare_exchange_weak(&file->high, &high, to)) {
    }
}

static int take_slot(ledger *self) {
    for (int slot = 0; slot < LEDGER_SLOTS; slot++) {
        if (!ledger_lock_slot(self->lock_fd, slot, F_WRLCK)) {
            if (errno == EAGAIN || errno == EACCES) continue; /* another process has it */
            return -errno;
        }
        FAILPOINT("attach.locked");
        ledger_clear_slot(self->file, (uint32_t)slot);
        FAILPOINT("attach.cleared");
        raise_high(self->file, (uint32_t)slot + 1);
        self->pid = (uint32_t)getpid();
        atomic_store(&self->file->slots[slot].pid, self->pid);
        self->slot = slot;
        FAILPOINT("attach.done");
        return 0;
    }
    return -EUSERS;
}

int ledger_attach_locked(ledger *self) {
    int problem = ledger_open(self);
    if (problem) return problem;
    if (self->slot < 0) return take_slot(self);
    return ledger_is_ours(self) ? 0 : ledger_give_up(self, -ESTALE);
}

int ledger_attach(ledger *self) {
    lock_take(&self->lock);
    int problem = ledger_attach_locked(self);
    lock_release(&self->lock);
    return problem;
}

/*
 * The child's copy of the descriptor stays open until it ends or becomes another program, as its copies of
 * the driver's descriptors do: as long as these live the driver keeps the parent's memory, even when the
 * parent dies. Closing it would not drop the parent's lock either way.
 * The parent may have been in the middle of anything, so the child maps the file for itself.
 */
void ledger_forked(ledger *self) {
    self->file = NULL;
    self->lock_fd = -1;
    self->slot = -1;
    self->broken = 0;
    lock_reset(&self->lock);
}
