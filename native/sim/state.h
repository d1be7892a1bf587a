/*
 * What all processes of a simulated node share: one file, mapped by each. A process owns one slot for as long
 * as it lives, by a POSIX record lock on one byte beyond the data; the kernel drops the lock at any death, so
 * a slot whose byte is not locked is free and its numbers count for nothing. No total is stored: used memory
 * is the sum of slots.
 *
 * POSIX locks are dropped when a process closes ANY descriptor of the file: the one descriptor stays open for
 * life. F_OFD_GETLK on a slot's byte tells the holder's pid in the namespace of who asks, 0 when it is not
 * visible there; plain F_GETLK would not see the locks of the own process.
 */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "config.h"

#define SIM_SLOTS      512
#define SIM_BUCKETS    16        /* of busy time for each slot and card */
#define SIM_BUCKET_NS  100000000 /* 100 ms */
#define SIM_GROUPS     16
#define SIM_PARTITIONS 7    /* MIG instances of a card */
#define SIM_SHARED     256  /* pieces of memory, and multicast objects, that several processes may hold */
#define SIM_STATE_MODE 0666 /* processes of any user in any container use the file */

struct sim_use {
    _Atomic uint64_t memory;               /* bytes held on the card, written by the owner of the slot */
    _Atomic uint64_t busy_ns;              /* computing time since the process began */
    _Atomic uint64_t buckets[SIM_BUCKETS]; /* bucket number << 32 | busy microseconds in it */
};

struct sim_slot {
    struct sim_use use[SIM_MAX_GPUS];
    _Atomic unsigned group; /* HAMI_SIM_GROUP of the process: whose memory the oracle adds up */
    _Atomic unsigned kinds; /* HAMI_SIM_PROCESS of the process: a bit for each list of NVML that names it */
};

/* A piece of memory that left the process which made it, or a multicast object, which takes no memory itself;
 * changed between begin_change and end_change. */
struct sim_shared {
    uint64_t bytes;                     /* 0: no piece */
    uint32_t number;                    /* of the pieces that were ever at this place */
    int gpu, maker;                     /* the card; the slot of who made it, -1 when that is another's now */
    uint64_t holders[SIM_SLOTS / 64];   /* a bit for each slot */
    uint64_t bound_to[SIM_SHARED / 64]; /* a bit for each multicast object that holds it */
    uint32_t team;                      /* of a multicast object: the cards it needs; 0: memory */
    uint32_t added;                     /* and a bit for each that was added */
};

struct sim_state {
    char magic[8];
    uint32_t version, size;
    char boot_id[40];            /* the device clock is CLOCK_MONOTONIC: worthless after a reboot */
    char uuid[SIM_MAX_GPUS][80]; /* the cards that the indexes stand for */
    _Atomic uint64_t busy_until[SIM_MAX_GPUS]; /* device time up to which a card is promised to processes */
    _Atomic unsigned runner[SIM_MAX_GPUS];     /* slot of the process that computed last, + 1 */
    /* MIG instances that were made at run time (nvml_partition.c); a reboot destroys them */
    _Atomic uint32_t partition[SIM_MAX_GPUS][SIM_PARTITIONS];
    struct sim_slot slot[SIM_SLOTS];
    struct sim_shared shared[SIM_SHARED];
    uint32_t shared_end; /* behind the last place that was ever taken */
    _Atomic uint64_t most[SIM_GROUPS]
                         [SIM_MAX_GPUS]; /* the oracle: the most that a group held at any instant */
};

struct sim_process {
    int slot;
    pid_t pid; /* in the caller's PID namespace, 0 when not visible there */
    uint64_t memory, busy_ns;
    unsigned busy_percent; /* of the last second */
    unsigned kinds;        /* a bit for each list of NVML that names it */
};

/* Maps the file, which whoever comes first creates. NULL with a complaint on stderr when it cannot be used.
 */
struct sim_state *sim_state_open(const char *path, const struct sim_config *config);

/* Takes a free slot for this process; its index, or -1 with a complaint. */
int sim_state_take_slot(struct sim_state *state);

/* Adds `bytes` to the slot if the card (of `total` bytes) has that much left. Frees never fail. No process of
 * the node allocates meanwhile, so that the oracle sees every instant. */
bool sim_state_allocate(struct sim_state *state, int slot, int gpu, uint64_t bytes, uint64_t total);
void sim_state_free(struct sim_state *state, int slot, int gpu, uint64_t bytes);

/* The living processes that hold memory of the card or have computed on it, and their number; to be freed. */
struct sim_process *sim_state_processes(struct sim_state *state, int gpu, int *count);

/* Percent of the last second in which the card computed. */
unsigned sim_state_busy(struct sim_state *state, int gpu);

/* Bytes of the card that living processes hold. */
uint64_t sim_state_used(struct sim_state *state, int gpu);

/* The slot that a piece is counted for: its maker's while that one lives and holds it, or a descriptor or a
 * multicast object does; else another holder's. SIM_ORPHAN: kept without a process that could be named, so
 * only the card counts it. SIM_GONE: there is no such piece any more. */
enum { SIM_GONE = -1, SIM_ORPHAN = -2 };
int sim_state_payer(const struct sim_state *state, const struct sim_shared *piece);

/* Between these two no other process, and no other thread, changes partitions or pieces, or allocates. */
void sim_state_begin_change(void);
void sim_state_end_change(void);

/* Books `ns` of computing that ended at device time `end`. */
void sim_state_add_busy(struct sim_state *state, int slot, int gpu, uint64_t end, uint64_t ns);

/* The device clock: nanoseconds of CLOCK_MONOTONIC, which all containers of a node share. */
uint64_t sim_now(void);
