#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "exported.h"
#include "nvml_abi.h"

/* Bytes that are only locked, far beyond the data. */
#define LOCK_SLOTS (1 << 30)
#define LOCK_INIT  (LOCK_SLOTS - 2)
#define LOCK_SUM   (LOCK_SLOTS - 1)

static const char magic[8] = "hamisim";
enum { VERSION = 7 };

static int state_fd = -1;
static pthread_mutex_t sum_mutex = PTHREAD_MUTEX_INITIALIZER; /* record locks do not hold between threads */

static struct flock range(short type, off_t start, off_t length) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

static bool lock(int fd, off_t byte, bool wait) {
    struct flock l = range(F_WRLCK, byte, 1);
    int result;
    while ((result = fcntl(fd, wait ? F_SETLKW : F_SETLK, &l)) != 0 && errno == EINTR) {
    }
    return result == 0;
}

static void unlock(int fd, off_t byte) {
    struct flock l = range(F_UNLCK, byte, 1);
    fcntl(fd, F_SETLK, &l);
}

/* Whether any process, this one included, holds a lock in the range; its pid in *pid. */
static bool held(int fd, off_t start, off_t length, pid_t *pid) {
    struct flock l = range(F_WRLCK, start, length);
    if (fcntl(fd, F_OFD_GETLK, &l) != 0 || l.l_type == F_UNLCK) return false;
    if (pid) *pid = l.l_pid;
    return true;
}

uint64_t sim_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void read_boot_id(char out[40]) {
    memset(out, 0, 40);
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!file) return;
    if (!fgets(out, 40, file)) out[0] = '\0';
    fclose(file);
}

/* O_CREAT on another user's file in a sticky folder is refused, so the plain open comes first. */
static int open_or_create(const char *path) {
    for (int attempt = 0; attempt < 100; attempt++) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0 || errno != ENOENT) return fd;
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, SIM_STATE_MODE);
        if (fd >= 0) fchmod(fd, SIM_STATE_MODE); /* whatever the umask says */
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

static bool same_cards(const struct sim_state *state, const struct sim_config *config) {
    for (int i = 0; i < config->gpus; i++)
        if (strcmp(state->uuid[i], config->gpu[i].uuid) != 0) return false;
    return config->gpus == SIM_MAX_GPUS || state->uuid[config->gpus][0] == '\0';
}

/* Makes the mapped file ready; under LOCK_INIT. NULL, or what is wrong. */
static const char *prepare(struct sim_state *state, int fd, const struct sim_config *config) {
    char boot_id[40];
    read_boot_id(boot_id);
    bool fresh = state->magic[0] == '\0';
    bool this_version = !fresh && state->version == VERSION && state->size == sizeof *state;
    if (this_version && memcmp(state->boot_id, boot_id, sizeof boot_id) == 0 && same_cards(state, config))
        return NULL;
    if (held(fd, LOCK_SLOTS, SIM_SLOTS, NULL))
        return "is in use with other GPUs or by another version; stop those processes or set HAMI_SIM_STATE";
    memset(state, 0, sizeof *state);
    memcpy(state->boot_id, boot_id, sizeof boot_id);
    for (int i = 0; i < config->gpus; i++) memcpy(state->uuid[i], config->gpu[i].uuid, sizeof state->uuid[i]);
    state->version = VERSION;
    state->size = sizeof *state;
    memcpy(state->magic, magic, sizeof magic);
    return NULL;
}

static struct sim_state *map(const char *path, int fd, const struct sim_config *config) {
    struct stat info;
    char found[sizeof magic] = {0};
    if (!lock(fd, LOCK_INIT, true) || fstat(fd, &info) != 0 || pread(fd, found, sizeof found, 0) < 0) {
        sim_complain("%s: cannot be read: %s; set HAMI_SIM_STATE", path, strerror(errno));
        return NULL;
    }
    if (info.st_size != 0 && found[0] != '\0' && memcmp(found, magic, sizeof magic) != 0) {
        sim_complain("%s: is no state file of simulated GPUs; remove it or set HAMI_SIM_STATE", path);
        return NULL;
    }
    if ((size_t)info.st_size < sizeof(struct sim_state) && ftruncate(fd, sizeof(struct sim_state)) != 0) {
        sim_complain("%s: cannot be prepared: %s; free space there or set HAMI_SIM_STATE", path,
                     strerror(errno));
        return NULL;
    }
    struct sim_state *state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (state == MAP_FAILED) {
        sim_complain("%s: cannot be mapped: %s", path, strerror(errno));
        return NULL;
    }
    const char *problem = prepare(state, fd, config);
    unlock(fd, LOCK_INIT);
    if (!problem) return state;
    sim_complain("%s: %s", path, problem);
    munmap(state, sizeof *state);
    return NULL;
}

struct sim_state *sim_state_open(const char *path, const struct sim_config *config) {
    int fd = open_or_create(path);
    if (fd < 0) {
        sim_complain("%s: cannot be opened for writing: %s; make it writable or set HAMI_SIM_STATE", path,
                     strerror(errno));
        return NULL;
    }
    struct sim_state *state = map(path, fd, config);
    if (!state) {
        close(fd);
        return NULL;
    }
    state_fd = fd;
    sim_exported_open(path);
    return state;
}

void sim_state_begin_change(void) {
    pthread_mutex_lock(&sum_mutex);
    lock(state_fd, LOCK_SUM, true);
}

void sim_state_end_change(void) {
    unlock(state_fd, LOCK_SUM);
    pthread_mutex_unlock(&sum_mutex);
}

static bool alive(int slot) { return held(state_fd, LOCK_SLOTS + slot, 1, NULL); }

/* What the last owner of a slot left there: numbers, and pieces that it held. Within a change. */
static void clear(struct sim_state *state, int number) {
    struct sim_slot *slot = &state->slot[number];
    for (uint32_t i = 0; i < state->shared_end; i++) {
        state->shared[i].holders[number / 64] &= ~(UINT64_C(1) << number % 64);
        if (state->shared[i].maker == number) state->shared[i].maker = -1;
    }
    for (int g = 0; g < SIM_MAX_GPUS; g++) {
        atomic_store(&slot->use[g].memory, 0);
        atomic_store(&slot->use[g].busy_ns, 0);
        for (int b = 0; b < SIM_BUCKETS; b++) atomic_store(&slot->use[g].buckets[b], 0);
    }
}

/* By HAMI_SIM_PROCESS: `graphics` is one that computes, too; `mps` a client of MPS. */
static unsigned kinds_of_this_process(void) {
    const char *kind = getenv("HAMI_SIM_PROCESS");
    if (kind && strcmp(kind, "graphics") == 0)
        return 1u << NVML_PROCESSES_COMPUTE | 1u << NVML_PROCESSES_GRAPHICS;
    return kind && strcmp(kind, "mps") == 0 ? 1u << NVML_PROCESSES_MPS : 1u << NVML_PROCESSES_COMPUTE;
}

/* Cleared before it is locked: from then on, what is in it counts as a living process's. */
static bool take(struct sim_state *state, int number) {
    sim_state_begin_change();
    bool free = !held(state_fd, LOCK_SLOTS + number, 1, NULL);
    if (free) clear(state, number);
    free = free && lock(state_fd, LOCK_SLOTS + number, false);
    sim_state_end_change();
    return free;
}

int sim_state_take_slot(struct sim_state *state) {
    for (int i = 0; i < SIM_SLOTS; i++) {
        if (alive(i) || !take(state, i)) continue;
        const char *group = getenv("HAMI_SIM_GROUP");
        atomic_store(&state->slot[i].group, group ? (unsigned)strtoul(group, NULL, 10) % SIM_GROUPS : 0);
        atomic_store(&state->slot[i].kinds, kinds_of_this_process());
        return i;
    }
    sim_complain("all %d places for processes of this simulated node are taken; end some", SIM_SLOTS);
    return -1;
}

/* A living process that holds the piece, its maker first; -1: none. */
static int holder(const struct sim_shared *piece) {
    int maker = piece->maker;
    if (maker >= 0 && piece->holders[maker / 64] >> maker % 64 & 1 && alive(maker)) return maker;
    for (int i = 0; i < SIM_SLOTS; i++)
        if (piece->holders[i / 64] >> i % 64 & 1 && alive(i)) return i;
    return -1;
}

static uint32_t place_of(const struct sim_state *state, const struct sim_shared *piece) {
    return (uint32_t)(piece - state->shared);
}

/* Whether a multicast object that it is bound to holds it. */
static bool is_bound(const struct sim_state *state, const struct sim_shared *piece) {
    for (uint32_t i = 0; i < state->shared_end; i++) {
        const struct sim_shared *each = &state->shared[i];
        if (piece->bound_to[i / 64] >> i % 64 & 1 && each->team &&
            (sim_exported_is_open(i) || holder(each) >= 0))
            return true;
    }
    return false;
}

int sim_state_payer(const struct sim_state *state, const struct sim_shared *piece) {
    int by = holder(piece);
    if (by >= 0 && by == piece->maker) return by;
    bool kept = sim_exported_is_open(place_of(state, piece)) || is_bound(state, piece);
    if (kept && piece->maker >= 0 && alive(piece->maker)) return piece->maker;
    return by >= 0 ? by : kept ? SIM_ORPHAN : SIM_GONE;
}

/* Shared pieces of a card, by the slots that they are counted for; returns what is no process's. */
static uint64_t add_shared(const struct sim_state *state, int gpu, uint64_t memory[SIM_SLOTS]) {
    uint64_t orphaned = 0;
    for (const struct sim_shared *each = state->shared; each < state->shared + state->shared_end; each++) {
        if (!each->bytes || each->team || each->gpu != gpu) continue;
        int payer = sim_state_payer(state, each);
        if (payer >= 0) memory[payer] += each->bytes;
        if (payer == SIM_ORPHAN) orphaned += each->bytes;
    }
    return orphaned;
}

/* What each slot's process holds of a card, or held when it died; returns what is no process's. */
static uint64_t held_by_slot(struct sim_state *state, int gpu, uint64_t memory[SIM_SLOTS]) {
    for (int i = 0; i < SIM_SLOTS; i++) memory[i] = atomic_load(&state->slot[i].use[gpu].memory);
    return add_shared(state, gpu, memory);
}

static uint64_t sum(struct sim_state *state, int gpu, bool only_living) {
    uint64_t shared[SIM_SLOTS] = {0}, total = add_shared(state, gpu, shared);
    for (int i = 0; i < SIM_SLOTS; i++) {
        uint64_t own = atomic_load(&state->slot[i].use[gpu].memory);
        /* Read again once it is known to be a living process's: it may have been a dead one's before. */
        if (own && only_living) own = alive(i) ? atomic_load(&state->slot[i].use[gpu].memory) : 0;
        total += shared[i] + own;
    }
    return total;
}

uint64_t sim_state_used(struct sim_state *state, int gpu) { return sum(state, gpu, true); }

/* What the living processes of a group hold; who is alive is asked only when the dead make a difference. */
static void note_most(struct sim_state *state, unsigned group, int gpu) {
    uint64_t memory[SIM_SLOTS];
    held_by_slot(state, gpu, memory);
    for (int only_living = 0; only_living <= 1; only_living++) {
        uint64_t held_now = 0;
        for (int i = 0; i < SIM_SLOTS; i++)
            if (memory[i] && atomic_load(&state->slot[i].group) == group && (!only_living || alive(i)))
                held_now += memory[i];
        if (held_now <= atomic_load(&state->most[group][gpu])) return;
        if (only_living) atomic_store(&state->most[group][gpu], held_now);
    }
}

bool sim_state_allocate(struct sim_state *state, int slot, int gpu, uint64_t bytes, uint64_t total) {
    pthread_mutex_lock(&sum_mutex);
    bool fits = bytes <= total && lock(state_fd, LOCK_SUM, true);
    if (fits) {
        /* Who is alive is asked only when the sum with the dead does not fit. */
        fits = sum(state, gpu, false) <= total - bytes || sum(state, gpu, true) <= total - bytes;
        if (fits) {
            atomic_fetch_add(&state->slot[slot].use[gpu].memory, bytes);
            note_most(state, atomic_load(&state->slot[slot].group), gpu);
        }
        unlock(state_fd, LOCK_SUM);
    }
    pthread_mutex_unlock(&sum_mutex);
    return fits;
}

void sim_state_free(struct sim_state *state, int slot, int gpu, uint64_t bytes) {
    atomic_fetch_sub(&state->slot[slot].use[gpu].memory, bytes);
}

void sim_state_add_busy(struct sim_state *state, int slot, int gpu, uint64_t end, uint64_t ns) {
    struct sim_use *use = &state->slot[slot].use[gpu];
    uint64_t number = end / SIM_BUCKET_NS, old = atomic_load(&use->buckets[number % SIM_BUCKETS]);
    uint64_t already = old >> 32 == number ? old & UINT32_MAX : 0;
    atomic_store(&use->buckets[number % SIM_BUCKETS], number << 32 | (already + ns / 1000));
    atomic_fetch_add(&use->busy_ns, ns);
}

static unsigned busy_percent(const struct sim_use *use) {
    uint64_t now = sim_now() / SIM_BUCKET_NS, busy_us = 0;
    for (int b = 0; b < SIM_BUCKETS; b++) {
        uint64_t bucket = atomic_load(&use->buckets[b]);
        if (bucket >> 32 < now && bucket >> 32 >= now - 10) busy_us += bucket & UINT32_MAX;
    }
    return busy_us >= 1000000 ? 100 : (unsigned)(busy_us / 10000);
}

unsigned sim_state_busy(struct sim_state *state, int gpu) {
    unsigned busy = 0;
    for (int i = 0; i < SIM_SLOTS; i++) {
        const struct sim_use *use = &state->slot[i].use[gpu];
        if (atomic_load(&use->busy_ns) && alive(i)) busy += busy_percent(use);
    }
    return busy > 100 ? 100 : busy;
}

struct sim_process *sim_state_processes(struct sim_state *state, int gpu, int *count) {
    struct sim_process *out = malloc(SIM_SLOTS * sizeof *out);
    uint64_t memory[SIM_SLOTS];
    held_by_slot(state, gpu, memory);
    *count = 0;
    for (int i = 0; out && i < SIM_SLOTS; i++) {
        struct sim_use *use = &state->slot[i].use[gpu];
        struct sim_process p = {.slot = i, .memory = memory[i], .busy_ns = atomic_load(&use->busy_ns)};
        if ((p.memory || p.busy_ns) && held(state_fd, LOCK_SLOTS + i, 1, &p.pid)) {
            p.busy_percent = busy_percent(use);
            p.kinds = atomic_load(&state->slot[i].kinds);
            out[(*count)++] = p;
        }
    }
    return out;
}
