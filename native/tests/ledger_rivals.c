/*
 * ledger-rivals PROCESSES SECONDS FILE: all of them reserve and refund in one ledger as fast as they can.
 * After each grant a process adds what it got to a counter that all share: it must never pass the limit. In
 * the end nothing may be left over, and there must have been both grants and refusals, else nothing was
 * tried.
 */
#include <sched.h>

#include "../src/ledger.h"
#include "check.h"

static const uint64_t LIMIT = UINT64_C(64) << 20;

void failpoint(const char *place);

/* Built with failpoints, processes are interrupted where it hurts. */
void failpoint(const char *place) {
    static _Thread_local unsigned seed;
    (void)place;
    if (!seed) seed = (unsigned)getpid();
    if (rand_r(&seed) % 16 == 0) sched_yield();
}

struct oracle {
    _Atomic uint64_t held, most, grants, refusals;
    _Atomic int wrong;
};

static void raise_most(struct oracle *oracle, uint64_t held) {
    uint64_t most = oracle->most;
    while (most < held && !__atomic_compare_exchange_n((uint64_t *)&oracle->most, &most, held, false,
                                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
}

static void rival(const char *path, struct oracle *oracle, unsigned seed, double until) {
    ledger book;
    ledger_init(&book, path);
    uint64_t mine[16] = {0};
    while (seconds() < until) {
        unsigned which = (unsigned)rand_r(&seed) % 16;
        if (mine[which]) {
            oracle->held -= mine[which];
            ledger_refund(&book, mine[which]);
            mine[which] = 0;
            continue;
        }
        uint64_t size = (1 + (uint64_t)rand_r(&seed) % 64) * 256 * KIB;
        int problem = ledger_reserve(&book, size, LIMIT);
        CHECK(problem == 0 || problem == -ENOMEM);
        if (problem) {
            oracle->refusals++;
            continue;
        }
        mine[which] = size;
        uint64_t held = (oracle->held += size);
        raise_most(oracle, held);
        if (held > LIMIT) oracle->wrong = 1;
        oracle->grants++;
    }
    for (int i = 0; i < 16; i++)
        if (mine[i]) {
            oracle->held -= mine[i];
            ledger_refund(&book, mine[i]);
        }
    _exit(0);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    int processes = atoi(argv[1]);
    double until = seconds() + atof(argv[2]);
    const char *path = argv[3];
    new_ledger(path);
    struct oracle *oracle = shared_memory(sizeof *oracle);
    for (int i = 0; i < processes; i++)
        if (fork() == 0) rival(path, oracle, (unsigned)i + 1, until);
    for (int i = 0; i < processes; i++) {
        int status;
        CHECK(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    printf("grants %lu, refusals %lu, most held %lu of %lu\n", oracle->grants, oracle->refusals, oracle->most,
           LIMIT);
    ledger book;
    ledger_init(&book, path);
    CHECK(ledger_usage(&book) == 0);
    CHECK(ledger_reserve(&book, LIMIT, LIMIT) == 0);
    CHECK(oracle->grants > 0 && oracle->refusals > 0);
    if (oracle->wrong) return fprintf(stderr, "the limit was passed\n"), 3;
    return 0;
}
