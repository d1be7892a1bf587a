/* One ledger: what is refused, what the dead and the stopped leave behind, threads. */
#include "../src/charges.h"
#include "../src/ledger.h"
#include "policy.h"

static void a_ledger_that_is_none_is_refused(void) {
    static char foreign[LEDGER_SIZE];
    static struct {
        uint64_t magic;
        char rest[LEDGER_SIZE - sizeof(uint64_t)];
    } newer = {.magic = LEDGER_MAGIC + 1};
    memset(foreign, 0xff, sizeof foreign);
    write_file(in_folder("newer"), (const char *)&newer, sizeof newer);
    write_file(in_folder("short"), "short", 5);
    new_ledger(in_folder("long"));
    CHECK(truncate(in_folder("long"), LEDGER_SIZE + 1) == 0);
    write_file(in_folder("foreign"), foreign, sizeof foreign);
    mkdir(in_folder("directory"), 0777);
    symlink("/dev/zero", in_folder("device"));
    static const struct {
        const char *name;
        int problem;
    } bad[] = {{"missing", -ENOENT}, {"short", -EPROTO},     {"long", -EPROTO},  {"foreign", -EPROTO},
               {"newer", -EPROTO},   {"directory", -EISDIR}, {"device", -EPROTO}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ledger book;
        ledger_init(&book, in_folder(bad[i].name));
        CHECK(ledger_attach(&book) == bad[i].problem);
        CHECK(ledger_reserve(&book, 1, MIB) == bad[i].problem);
        CHECK(ledger_usage(&book) == 0 && !ledger_look(&book));
        ledger_refund(&book, 1); /* harmless */
    }
}

static volatile char *cut_short(void) {
    write_file(in_folder("cut"), "1234", 4);
    int fd = open(in_folder("cut"), O_RDWR);
    volatile char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(fd >= 0 && at != MAP_FAILED && ftruncate(fd, 0) == 0 && close(fd) == 0);
    return at;
}

static void use_a_ledger(void) {
    ledger book;
    new_ledger(in_folder("guarded"));
    ledger_init(&book, in_folder("guarded"));
    CHECK(ledger_attach(&book) == 0);
}

static void plain_handler(int signal) { _exit(signal == SIGBUS ? 0 : 1); }
static void full_handler(int signal, siginfo_t *info, void *context) {
    _exit(signal == SIGBUS && info && context ? 0 : 1);
}

static void not_reached(void) {
    bool reached = true;
    CHECK(!reached);
}

static void a_fault_elsewhere_goes_to_the_programs_own_handler(void) {
    signal(SIGBUS, plain_handler);
    use_a_ledger();
    *cut_short() = 1;
    not_reached();
}

static void a_fault_elsewhere_goes_to_the_programs_own_handler_with_all_that_it_asked_for(void) {
    struct sigaction own = {.sa_sigaction = full_handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &own, NULL);
    use_a_ledger();
    *cut_short() = 1;
    not_reached();
}

/* Sanitizers have a handler, and tell at length what they think of it. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static void a_fault_elsewhere_ends_a_program_without_a_handler(void) {
    if (SANITIZED) return;
    for (int sent = 0; sent <= 1; sent++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            use_a_ledger();
            if (sent)
                kill(getpid(), SIGBUS);
            else
                *cut_short() = 1;
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && !(WIFEXITED(status) && WEXITSTATUS(status) == 0));
    }
}

static void wait_until_the_file_is_looked_at_again(void) { usleep(120 * 1000); }

static void a_ledger_that_changes_while_it_is_used_is_given_up_without_a_crash(void) {
    const char *path = in_folder("changing");
    ledger book;
    new_ledger(path);
    ledger_init(&book, path);
    CHECK(ledger_reserve(&book, MIB, 2 * MIB) == 0);
    CHECK(truncate(path, 0) == 0);
    CHECK(book.file->hint.rate == 0); /* as a launch looks at it */
    CHECK(ledger_reserve(&book, 1, 2 * MIB) == -ESTALE);
    ledger_refund(&book, MIB);
    CHECK(ledger_usage(&book) == 0);

    new_ledger(path);
    ledger_init(&book, path);
    CHECK(ledger_reserve(&book, MIB, 2 * MIB) == 0);
    CHECK(truncate(path, LEDGER_HEADER) == 0); /* in the middle */
    CHECK(ledger_reserve(&book, MIB, 2 * MIB) == -ESTALE);

    new_ledger(path);
    ledger_init(&book, path);
    CHECK(ledger_reserve(&book, MIB, 2 * MIB) == 0);
    new_ledger(path); /* made anew while it is mapped */
    CHECK(ledger_reserve(&book, MIB, 2 * MIB) == -ESTALE);

    new_ledger(path);
    ledger_init(&book, path);
    CHECK(ledger_reserve(&book, MIB, 2 * MIB) == 0);
    wait_until_the_file_is_looked_at_again();
    close(book.lock_fd); /* as a program does that closes all descriptors: somebody may think that we are dead
                          */
    int reused = open("/dev/null", O_RDONLY);
    CHECK(reused == book.lock_fd);
    CHECK(ledger_reserve(&book, 1, 2 * MIB) == -ESTALE);
    CHECK(close(reused) == 0); /* and the program's own descriptor of that number was left alone */
}

/* Whose descriptors were closed looks dead: others clear its slot, or take it, and must lose nothing to what
 * it still gives back or asks for. */
static void who_lost_its_slot_leaves_the_next_owner_alone(void) {
    const char *path = in_folder("lost");
    ledger lost, other, next;
    new_ledger(path);
    ledger_init(&lost, path);
    ledger_init(&other, path);
    ledger_init(&next, path);
    CHECK(ledger_reserve(&lost, MIB, 2 * MIB) == 0 && ledger_attach(&other) == 0);
    close(lost.lock_fd);
    CHECK(ledger_reserve(&other, 2 * MIB, 2 * MIB) == 0); /* cleared */
    ledger_refund(&lost, 512 * KIB);
    CHECK(ledger_usage(&other) == 2 * MIB);
    ledger_refund(&other, MIB);
    pid_t child = fork();
    if (child == 0) {
        ledger_forked(&other); /* a process with a number of its own */
        CHECK(ledger_reserve(&next, MIB, 2 * MIB) == 0 && next.slot == lost.slot);
        ledger_refund(&lost, 512 * KIB);
        CHECK(ledger_usage(&next) == 2 * MIB);
        CHECK(ledger_reserve(&lost, LEDGER_UNIT, 4 * MIB) == -ESTALE);
        CHECK(ledger_usage(&next) == 2 * MIB);
        _exit(0);
    }
    ends_well(child);
}

static void sizes_are_taken_in_units_and_never_wrap_around(void) {
    ledger book;
    new_ledger(in_folder("sizes"));
    ledger_init(&book, in_folder("sizes"));
    CHECK(ledger_reserve(&book, 1, MIB) == 0 && ledger_usage(&book) == LEDGER_UNIT);
    ledger_refund(&book, 1);
    CHECK(ledger_usage(&book) == 0);
    CHECK(ledger_reserve(&book, UINT64_MAX, INT64_MAX) == -ENOMEM);
    CHECK(ledger_reserve(&book, MIB + 1, MIB) == -ENOMEM);
    CHECK(ledger_reserve(&book, MIB, MIB) == 0);
    CHECK(ledger_reserve(&book, 1, MIB) == -ENOMEM);
    CHECK(book.file->slots[0].refused == 3);
}

static void asking_what_is_used_takes_no_place(void) {
    ledger book;
    new_ledger(in_folder("asking"));
    ledger_init(&book, in_folder("asking"));
    CHECK(ledger_usage(&book) == 0 && book.slot == -1 && book.file->high == 0);
    CHECK(ledger_look(&book)->magic == LEDGER_MAGIC && book.slot == -1);
}

static void a_full_ledger_refuses_one_process_more(void) {
    int fd;
    ledger book;
    new_ledger(in_folder("full"));
    CHECK((fd = open(in_folder("full"), O_RDWR)) >= 0);
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LEDGER_HEADER};
    CHECK(fcntl(fd, F_OFD_SETLK, &all) == 0);
    ledger_init(&book, in_folder("full"));
    CHECK(ledger_attach(&book) == -EUSERS);
    close(fd);
    CHECK(ledger_attach(&book) == 0);
}

static void what_a_dead_process_held_is_free(void) {
    ledger book;
    new_ledger(in_folder("dead"));
    ledger_init(&book, in_folder("dead"));
    pid_t child = fork();
    if (child == 0) {
        CHECK(ledger_reserve(&book, MIB, MIB) == 0);
        _exit(0);
    }
    ends_well(child);
    CHECK(ledger_reserve(&book, MIB, MIB) == 0 && ledger_usage(&book) == MIB);
}

/* The driver keeps memory as long as any copy of its descriptors lives. */
static void what_a_dead_process_held_stays_taken_while_its_forks_live(void) {
    int gate[2];
    ledger book;
    new_ledger(in_folder("forks"));
    ledger_init(&book, in_folder("forks"));
    CHECK(pipe(gate) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(ledger_reserve(&book, MIB, MIB) == 0);
        if (fork() == 0) {
            char byte;
            ledger_forked(&book);
            CHECK(ledger_reserve(&book, 1, MIB) == -ENOMEM); /* it has a slot of its own, and no room */
            close(gate[1]);
            CHECK(read(gate[0], &byte, 1) == 0);
            _exit(0);
        }
        _exit(0);
    }
    ends_well(child);
    CHECK(ledger_reserve(&book, 1, MIB) == -ENOMEM);
    close(gate[1]);
    double begin = seconds();
    while (ledger_reserve(&book, MIB, MIB) != 0) CHECK(seconds() - begin < 5);
}

/* A rival that was stopped while it asked is overruled; one that was granted already is not. */
static void who_stopped_while_asking_stands_in_nobodys_way(void) {
    ledger book, rival;
    new_ledger(in_folder("stopped"));
    ledger_init(&book, in_folder("stopped"));
    ledger_init(&rival, in_folder("stopped"));
    CHECK(ledger_attach(&book) == 0 && ledger_attach(&rival) == 0);
    _Atomic uint64_t *pending = &rival.file->slots[rival.slot].pending;
    *pending = MIB;
    CHECK(ledger_reserve(&book, 512 * KIB, MIB) == 0 && *pending == 0);
    *pending = (512 * KIB) | LEDGER_TAKEN;
    CHECK(ledger_usage(&book) == MIB);
    CHECK(ledger_reserve(&book, LEDGER_UNIT, MIB) == -ENOMEM && *pending != 0);
}

static ledger common;

static void *thread(void *argument) {
    uint64_t base = (uint64_t)argument << 32;
    for (uint64_t i = 1; i <= 2000; i++) {
        charged got, put = {.taken = {{i}}};
        if (ledger_reserve(&common, 4096, MIB) == 0) ledger_refund(&common, 4096);
        if (i % 50 == 0) CHECK(ledger_usage(&common) <= MIB);
        CHECK(charges_put(CHARGE_ARRAY, base + i, &put) == 0);
        CHECK(charges_take(CHARGE_ARRAY, base + i, &got) && got.taken.bytes[0] == i);
    }
    return NULL;
}

static void threads_of_a_process_share_one_slot_and_lose_nothing(void) {
    pthread_t threads[8];
    new_ledger(in_folder("threads"));
    ledger_init(&common, in_folder("threads"));
    for (uintptr_t i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, thread, (void *)i) == 0);
    for (int i = 0; i < 8; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(ledger_usage(&common) == 0 && common.file->high == 1);
}

void test_ledger(void) {
    alone(a_fault_elsewhere_goes_to_the_programs_own_handler);
    alone(a_fault_elsewhere_goes_to_the_programs_own_handler_with_all_that_it_asked_for);
    alone(a_fault_elsewhere_ends_a_program_without_a_handler);
    a_ledger_that_is_none_is_refused();
    a_ledger_that_changes_while_it_is_used_is_given_up_without_a_crash();
    who_lost_its_slot_leaves_the_next_owner_alone();
    sizes_are_taken_in_units_and_never_wrap_around();
    asking_what_is_used_takes_no_place();
    a_full_ledger_refuses_one_process_more();
    who_stopped_while_asking_stands_in_nobodys_way();
    what_a_dead_process_held_is_free();
    what_a_dead_process_held_stays_taken_while_its_forks_live();
    threads_of_a_process_share_one_slot_and_lose_nothing();
}
