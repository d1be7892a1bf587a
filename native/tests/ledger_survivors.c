/*
 * ledger-survivors KILLS FILE: what is left when processes die or stop in the middle of the ledger's code.
 *
 * First at every failpoint: a victim is killed, stopped or forks there. Then KILLS times at any machine
 * instruction: a victim is stepped through attaching, reserving and refunding, and killed; before that one of
 * four stays stopped for a while, and one of four forks. After each the others must go on at once, get all
 * that the victim did not hold, and not a unit more. A process that has a dead one's number does not keep its
 * memory.
 */
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "../src/ledger.h"
#include "check.h"

static const uint64_t LIMIT = UINT64_C(64) << 20, VICTIM = UINT64_C(40) << 20;
static double *waits; /* of those who went on, in seconds */
static int waited;

void failpoint(const char *place);

enum deed { NOTHING, DIE, STOP, FORK, CUT };
static enum deed deed;
static int hits_to_go;     /* failpoints to pass before the deed */
static char *where_it_was; /* shared: where the deed was done */
static ledger book;

static void forks_here(void) {
    pid_t child = fork();
    if (child == 0) {
        ledger_forked(&book);
        deed = NOTHING;
        CHECK(ledger_attach(&book) == 0);
        CHECK(ledger_reserve(&book, LEDGER_UNIT, LIMIT) == 0);
        ledger_refund(&book, LEDGER_UNIT);
        _exit(0);
    }
    ends_well(child);
}

void failpoint(const char *place) {
    if (deed == NOTHING || hits_to_go-- > 0) return;
    strcpy(where_it_was, place);
    enum deed now = deed;
    deed = NOTHING;
    if (now == FORK) forks_here();
    if (now == CUT) CHECK(truncate(book.path, 0) == 0);
    if (now == DIE || now == STOP) raise(now == DIE ? SIGKILL : SIGSTOP);
}

static void victim(enum deed what, int after, const char *path) {
    ledger_init(&book, path);
    deed = what;
    hits_to_go = after;
    if (ledger_reserve(&book, VICTIM, LIMIT) != 0) _exit(2); /* somebody else took it meanwhile */
    ledger_refund(&book, VICTIM);
    _exit(0);
}

/* How much can be taken now, by the unit. */
static uint64_t room(const char *path) {
    uint64_t low = 0, high = LIMIT / LEDGER_UNIT;
    ledger mine;
    ledger_init(&mine, path);
    while (low < high) {
        uint64_t middle = (low + high + 1) / 2;
        int problem = ledger_reserve(&mine, middle * LEDGER_UNIT, LIMIT);
        CHECK(problem == 0 || problem == -ENOMEM);
        if (problem == 0) ledger_refund(&mine, middle * LEDGER_UNIT);
        if (problem == 0)
            low = middle;
        else
            high = middle - 1;
    }
    close(mine.lock_fd);
    munmap(mine.file, LEDGER_SIZE);
    return low * LEDGER_UNIT;
}

/* At the places from here on the request of a stopped process is granted. */
static bool holds_at(const char *place) {
    return !strcmp(place, "reserve.taken") || !strcmp(place, "reserve.moved") ||
           !strcmp(place, "reserve.cleared") || !strcmp(place, "refund");
}

static void at_every_failpoint(const char *path) {
    static const char *const said[] = {"", "killed", "stopped", "forked"};
    for (enum deed what = DIE; what <= FORK; what++) {
        int after = 0, places = 0;
        for (;; after++) {
            strcpy(where_it_was, "");
            pid_t child = fork();
            if (child == 0) victim(what, after, path);
            int status;
            CHECK(waitpid(child, &status, WUNTRACED) == child);
            if (!*where_it_was) break; /* it has passed all failpoints there are */
            places++;
            uint64_t left = room(path), expected = LIMIT;
            if (what == STOP && holds_at(where_it_was)) expected -= VICTIM;
            if (left != expected)
                fprintf(stderr, "%s at %s: %lu can be taken, not %lu\n", said[what], where_it_was, left,
                        expected);
            CHECK(left == expected);
            if (what == STOP) {
                kill(child, SIGCONT);
                CHECK(waitpid(child, &status, 0) == child);
            }
            if (what == DIE) CHECK(WIFSIGNALED(status));
            if (what != DIE) CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            CHECK(room(path) == LIMIT);
        }
        CHECK(places >= 6);
        printf("%s at %d places\n", said[what], places);
    }
}

/* What was counted in a ledger that is cut short meanwhile grants nothing. */
static void cut_short_while_asking(const char *path) {
    char own[512];
    snprintf(own, sizeof own, "%s.cut", path);
    for (int after = 0;; after++) {
        strcpy(where_it_was, "");
        new_ledger(own);
        pid_t child = fork();
        if (child == 0) {
            ledger_init(&book, own);
            deed = CUT;
            hits_to_go = after;
            _exit(ledger_reserve(&book, VICTIM, LIMIT) == -ESTALE ? 0 : 1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        if (!*where_it_was) break;
        if (status) fprintf(stderr, "cut short at %s\n", where_it_was);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    unlink(own);
}

/* A process that was stopped while it asked, and overruled since, must not believe that it was granted. */
static void overruled_while_stopped(const char *path) {
    for (int after = 0;; after++) {
        strcpy(where_it_was, "");
        pid_t child = fork();
        if (child == 0) victim(STOP, after, path);
        int status;
        CHECK(waitpid(child, &status, WUNTRACED) == child);
        if (!*where_it_was) return;
        bool asking = !strcmp(where_it_was, "reserve.asked") || !strcmp(where_it_was, "reserve.counted");
        ledger mine;
        ledger_init(&mine, path);
        if (asking) CHECK(ledger_reserve(&mine, LIMIT, LIMIT) == 0);
        kill(child, SIGCONT);
        CHECK(waitpid(child, &status, 0) == child);
        if (asking) CHECK(WEXITSTATUS(status) == 2);
        close(mine.lock_fd);
        munmap(mine.file, LEDGER_SIZE);
    }
}

/* Interrupted by this signal, the victim forks; the child uses the ledger for itself. */
static void fork_now(int signal) {
    (void)signal;
    forks_here();
    raise(SIGSTOP);
}

static void stepped(const char *path) {
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    signal(SIGUSR1, fork_now);
    ledger_init(&book, path);
    raise(SIGSTOP);
    for (;;)
        if (ledger_reserve(&book, VICTIM, LIMIT) == 0) ledger_refund(&book, VICTIM);
}

static void takes_at_once(ledger *mine, uint64_t size, double since) {
    CHECK(ledger_reserve(mine, size, LIMIT) == 0);
    waits[waited++] = seconds() - since;
    ledger_refund(mine, size);
}

static void at_any_instruction(const char *path, int kills) {
    unsigned seed = 7;
    ledger mine;
    ledger_init(&mine, path);
    for (int i = 0; i < kills; i++) {
        pid_t child = fork();
        if (child == 0) stepped(path);
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
        for (int step = rand_r(&seed) % 1500; step > 0; step--) {
            CHECK(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0);
            CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
        }
        if (i % 4 == 1)
            takes_at_once(&mine, LIMIT - VICTIM, seconds()); /* as it stands, for as long as it does */
        if (i % 4 == 2) {
            for (int signal = SIGUSR1; signal != SIGSTOP; signal = WSTOPSIG(status)) {
                CHECK(ptrace(PTRACE_CONT, child, NULL, signal) == 0);
                CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
            }
        }
        double begin = seconds();
        kill_and_wait(child);
        takes_at_once(&mine, LIMIT, begin);
    }
    CHECK(ledger_usage(&mine) == 0);
    printf("killed at %d instructions\n", kills);
}

/* A child with the number PID, which does nothing until it is killed; -1 where that is not allowed. */
static pid_t child_numbered(pid_t pid) {
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
            set_tid_size;
    } how = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1};
    long child = syscall(SYS_clone3, &how, sizeof how);
    if (child == 0)
        for (;;) pause();
    return (pid_t)child;
}

static void a_number_that_is_used_again_keeps_nothing(const char *path) {
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0) {
            ledger_init(&book, path);
            if (ledger_reserve(&book, VICTIM / 4, LIMIT) != 0) _exit(2);
            for (;;) raise(SIGSTOP);
        }
        CHECK(waitpid(child, NULL, WUNTRACED) == child);
        CHECK(room(path) == LIMIT - VICTIM / 4);
        kill_and_wait(child);
        pid_t again = child_numbered(child);
        if (again < 0) {
            printf("a process may not choose its number here (%s)\n", strerror(errno));
            return;
        }
        CHECK(again == child && room(path) == LIMIT);
        kill_and_wait(again);
    }
}

static int by_length(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    int kills = atoi(argv[1]);
    waits = calloc(2 * (size_t)kills + 1, sizeof *waits);
    CHECK(waits);
    new_ledger(argv[2]);
    where_it_was = shared_memory(64);
    at_every_failpoint(argv[2]);
    cut_short_while_asking(argv[2]);
    overruled_while_stopped(argv[2]);
    a_number_that_is_used_again_keeps_nothing(argv[2]);
    at_any_instruction(argv[2], kills);
    qsort(waits, (size_t)waited, sizeof *waits, by_length);
    printf("the others waited %.2f ms, 99.9 %% of them at most %.2f ms, the longest %.2f ms\n",
           waits[waited / 2] * 1e3, waits[waited * 999L / 1000] * 1e3, waited ? waits[waited - 1] * 1e3 : 0);
    CHECK(waits[waited ? waited - 1 : 0] < 60); /* a hang, even on a busy machine */
    return 0;
}
