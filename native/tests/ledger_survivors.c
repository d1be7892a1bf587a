/*
 * ledger-survivors KILLS FILE: what is left when processes die or stop in the middle of the ledger's code.
 *
 * First at every failpoint: a victim is killed, stopped or forks there. Then KILLS times at any machine
 * instruction: a victim is stepped through attaching, reserving and refunding, and killed. After each the
 * others must go on at once, get all that the victim did not hold, and not a unit more.
 */
#include <sched.h>
#include <sys/ptrace.h>

#include "../src/ledger.h"
#include "check.h"

static const uint64_t LIMIT = UINT64_C(64) << 20, VICTIM = UINT64_C(40) << 20;
static double longest; /* that anybody waited */

void failpoint(const char *place);

enum deed { NOTHING, DIE, STOP, FORK };
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
    if (now != FORK) raise(now == DIE ? SIGKILL : SIGSTOP);
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
        double begin = seconds();
        int problem = ledger_reserve(&mine, middle * LEDGER_UNIT, LIMIT);
        if (seconds() - begin > longest) longest = seconds() - begin;
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

static void stepped(const char *path) {
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    ledger_init(&book, path);
    raise(SIGSTOP);
    for (;;)
        if (ledger_reserve(&book, VICTIM, LIMIT) == 0) ledger_refund(&book, VICTIM);
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
        double begin = seconds();
        kill_and_wait(child);
        CHECK(ledger_reserve(&mine, LIMIT, LIMIT) == 0);
        if (seconds() - begin > longest) longest = seconds() - begin;
        ledger_refund(&mine, LIMIT);
    }
    CHECK(ledger_usage(&mine) == 0);
    printf("killed at %d instructions\n", kills);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    new_ledger(argv[2]);
    where_it_was = shared_memory(64);
    at_every_failpoint(argv[2]);
    overruled_while_stopped(argv[2]);
    at_any_instruction(argv[2], atoi(argv[1]));
    printf("the others waited at most %.1f ms\n", longest * 1e3);
    CHECK(longest < 1); /* a hang, even on a busy machine */
    return 0;
}
