/* policy FOLDER: limits, ledger, budget and charges, each from its header's promises. */
#include "../src/budget.h"
#include "../src/charges.h"
#include "../src/physical.h"
#include "check.h"

static const char *folder;

static const char *in_folder(const char *name) {
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* --- limits --------------------------------------------------------------------------------------------- */

static int parse(const char *text, limits *into, char *why) {
    return limits_parse(text, strlen(text), into, why, 128);
}

#define GOOD "version=1\nshare=s\ndevice=GPU-1\nmemory=1048576\n"

static void limits_are_read_as_written(void) {
    limits got;
    char why[128];
    CHECK(parse(GOOD, &got, why) == 0);
    CHECK(!strcmp(got.share, "s") && !strcmp(got.device, "GPU-1") && got.memory == MIB && got.cores == 0);
    CHECK(!got.oversubscribe && got.log_level == -1);
    CHECK(parse(GOOD "cores=50\noversubscribe=1\nlog_level=3\nunknown=whatever\n\n", &got, why) == 0);
    CHECK(got.cores == 50 && got.oversubscribe && got.log_level == 3);
    CHECK(parse("version=1\nshare=s\ndevice=GPU-1\nmemory=9223372036854775807", &got, why) == 0);
    CHECK(got.memory == INT64_MAX);
}

static void limits_that_are_not_clear_are_refused_with_the_line(void) {
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "not all given"},
        {"version=1\nshare=s\nmemory=5\n", "not all given"},
        {"version=2\nshare=s\ndevice=d\nmemory=5\n", "line 1: version"},
        {"version=1\nshare=\ndevice=d\nmemory=5\n", "line 2: share"},
        {"version=1\nshare=s\ndevice=d\nmemory=-5\n", "line 4: memory"},
        {"version=1\nshare=s\ndevice=d\nmemory=5k\n", "line 4: memory"},
        {"version=1\nshare=s\ndevice=d\nmemory=9223372036854775808\n", "line 4: memory"},
        {"version=1\nshare=s\ndevice=d\nmemory=99999999999999999999999\n", "line 4: memory"},
        {GOOD "cores=101\n", "line 5: cores"},
        {GOOD "oversubscribe=yes\n", "line 5: oversubscribe"},
        {GOOD "log_level=5\n", "line 5: log_level"},
        {GOOD "no equals sign\n", "line 5 is not key=value"},
    };
    limits got;
    char why[128];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(parse(bad[i].text, &got, why) == -EINVAL);
        if (!strstr(why, bad[i].why)) fprintf(stderr, "%s\n", why);
        CHECK(strstr(why, bad[i].why));
    }
    char line[400] = GOOD "x=";
    memset(line + strlen(GOOD) + 2, 'y', 300);
    CHECK(parse(line, &got, why) == -EINVAL && strstr(why, "line 5 is too long"));
}

static void a_limits_file_that_cannot_be_read_says_so(void) {
    limits got;
    char why[128], large[5000];
    memset(large, '\n', sizeof large);
    write_file(in_folder("good"), GOOD, strlen(GOOD));
    CHECK(limits_read(in_folder("good"), &got, why, sizeof why) == 0 && got.memory == MIB);
    CHECK(limits_read(in_folder("none"), &got, why, sizeof why) == -ENOENT && strstr(why, "cannot be read"));
    write_file(in_folder("large"), large, sizeof large);
    CHECK(limits_read(in_folder("large"), &got, why, sizeof why) == -EIO && strstr(why, "too long"));
    CHECK(limits_read(folder, &got, why, sizeof why) == -EIO);
}

/* --- ledger --------------------------------------------------------------------------------------------- */

static void a_ledger_that_is_none_is_refused(void) {
    static char foreign[LEDGER_SIZE];
    memset(foreign, 0xff, sizeof foreign);
    write_file(in_folder("short"), "short", 5);
    write_file(in_folder("foreign"), foreign, sizeof foreign);
    mkdir(in_folder("directory"), 0777);
    symlink("/dev/zero", in_folder("device"));
    static const struct {
        const char *name;
        int problem;
    } bad[] = {{"missing", -ENOENT},
               {"short", -EPROTO},
               {"foreign", -EPROTO},
               {"directory", -EISDIR},
               {"device", -EPROTO}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ledger book;
        ledger_init(&book, in_folder(bad[i].name));
        CHECK(ledger_attach(&book) == bad[i].problem);
        CHECK(ledger_reserve(&book, 1, MIB) == bad[i].problem);
        CHECK(ledger_usage(&book) == 0);
        ledger_refund(&book, 1); /* harmless */
    }
}

static void wait_until_the_file_is_looked_at_again(void) { usleep(120 * 1000); }

static void a_ledger_that_changes_while_it_is_used_is_given_up_without_a_crash(void) {
    const char *path = in_folder("changing");
    ledger book;
    new_ledger(path);
    ledger_init(&book, path);
    CHECK(ledger_reserve(&book, MIB, 2 * MIB) == 0);
    wait_until_the_file_is_looked_at_again();
    CHECK(truncate(path, 0) == 0);
    CHECK(ledger_reserve(&book, 1, 2 * MIB) == -ESTALE);
    ledger_refund(&book, MIB);
    CHECK(ledger_usage(&book) == 0);

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

/* --- budget --------------------------------------------------------------------------------------------- */

static void add_share(const char *shares, const char *name, const char *device, uint64_t memory,
                      const char *more) {
    char text[512], path[600];
    mkdir(shares, 0777);
    snprintf(path, sizeof path, "%s/%s", shares, name);
    mkdir(path, 0777);
    snprintf(text, sizeof text, "version=1\nshare=%s\ndevice=%s\nmemory=%lu\n%s", name, device, memory, more);
    snprintf(path, sizeof path, "%s/%s/limits", shares, name);
    write_file(path, text, strlen(text));
    snprintf(path, sizeof path, "%s/%s/ledger", shares, name);
    new_ledger(path);
}

/* Run in a process of its own: shares are read once. */
static void alone(void (*test)(void)) {
    pid_t child = fork();
    if (child == 0) {
        test();
        exit(0);
    }
    ends_well(child);
}

static void two_shares_of_a_card_are_one_budget(void) {
    char shares[512], why[256];
    snprintf(shares, sizeof shares, "%s", in_folder("two"));
    add_share(shares, "a", "GPU-x", 3 * MIB, "oversubscribe=1\n");
    add_share(shares, "b", "gpu-X", 2 * MIB, "log_level=3\n");
    add_share(shares, "c", "GPU-y", MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    budget *card = budget_of("GPU-X"), *other = budget_of("GPU-Y");
    CHECK(card && other && card != other && !budget_of("GPU-z"));
    CHECK(budget_limit(card) == 5 * MIB && budget_oversubscribes(card) && !budget_oversubscribes(other));
    CHECK(budget_log_level() == 3);
    budget_attach();

    charge whole, rest;
    CHECK(budget_reserve(card, 4 * MIB, &whole) == 0 && charge_bytes(&whole) == 4 * MIB);
    CHECK(budget_usage(card) == 4 * MIB && budget_usage(other) == 0);
    CHECK(budget_reserve(card, 2 * MIB, &rest) == -ENOMEM && charge_bytes(&rest) == 0);
    CHECK(budget_usage(card) == 4 * MIB);
    CHECK(budget_extend(card, &whole, MIB) == 0 && charge_bytes(&whole) == 5 * MIB);
    CHECK(budget_extend(card, &whole, 1) == -ENOMEM && charge_bytes(&whole) == 5 * MIB);
    budget_shrink(card, &whole, MIB);
    CHECK(charge_bytes(&whole) == MIB && budget_usage(card) == MIB);
    budget_shrink(card, &whole, 2 * MIB);
    CHECK(charge_bytes(&whole) == MIB);
    budget_refund(card, &whole);
    CHECK(budget_usage(card) == 0);
    CHECK(budget_reserve(card, UINT64_MAX, &rest) == -ENOMEM);

    CHECK(budget_context_bytes(card) == 0);
    budget_learn_context(card, 5);
    CHECK(budget_context_bytes(card) == 5);
    CHECK(budget_reserve(other, MIB, &rest) == 0);
    budget_forked();
    CHECK(budget_usage(other) == MIB);
}

static void a_changed_limit_is_taken_up_and_a_broken_one_is_not(void) {
    char shares[512], why[512];
    snprintf(shares, sizeof shares, "%s", in_folder("changed"));
    add_share(shares, "a", "GPU-x", MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    int count;
    CHECK(budget_all(&count) == budget_of("GPU-x") && count == 1 && budget_limit(budget_of("GPU-x")) == MIB);
    usleep(100 * 1000);
    add_share(shares, "a", "GPU-x", 3 * MIB, "");
    usleep(100 * 1000);
    CHECK(budget_limit(budget_of("GPU-x")) == 3 * MIB);
    add_share(shares, "a", "GPU-y", 5 * MIB, ""); /* another card's: not this share */
    usleep(100 * 1000);
    CHECK(budget_limit(budget_of("GPU-x")) == 3 * MIB);
    write_file(in_folder("changed/a/limits"), "memory=lots", 11);
    usleep(100 * 1000);
    CHECK(budget_limit(budget_of("GPU-x")) == 3 * MIB);
}

static void limits_that_add_up_beyond_all_numbers_are_no_small_limit(void) {
    char shares[512], why[256];
    snprintf(shares, sizeof shares, "%s", in_folder("endless"));
    for (const char *name = "a\0b\0c\0"; *name; name += 2) add_share(shares, name, "GPU-x", INT64_MAX, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    CHECK(budget_limit(budget_of("GPU-x")) == UINT64_MAX);
}

static void expect_broken(const char *shares, const char *part) {
    char why[512] = "";
    CHECK(budget_load(shares, why, sizeof why) == SHARES_BROKEN);
    if (!strstr(why, part)) fprintf(stderr, "%s\n", why);
    CHECK(strstr(why, part));
}
static void an_empty_folder_is_broken(void) {
    mkdir(in_folder("empty"), 0777);
    expect_broken(in_folder("empty"), "holds no share");
}
static void a_share_without_limits_is_broken(void) {
    mkdir(in_folder("bare"), 0777);
    mkdir(in_folder("bare/a"), 0777);
    expect_broken(in_folder("bare"), "bare/a/limits: cannot be read");
}
static void no_folder_is_no_limits(void) {
    char why[256];
    CHECK(budget_load(in_folder("nowhere"), why, sizeof why) == SHARES_NONE);
    CHECK(budget_load(in_folder("good"), why, sizeof why) == SHARES_BROKEN); /* a file, no folder */
}
static void too_many_shares_of_a_card_are_broken(void) {
    char name[16], shares[512];
    snprintf(shares, sizeof shares, "%s", in_folder("five"));
    for (int i = 0; i < MOST_SHARES_OF_CARD + 1; i++) {
        snprintf(name, sizeof name, "%d", i);
        add_share(shares, name, "GPU-x", MIB, "");
    }
    expect_broken(shares, "more than 4 shares of one card");
}
static void too_many_shares_are_broken(void) {
    char name[16], device[32], shares[512];
    snprintf(shares, sizeof shares, "%s", in_folder("many"));
    for (int i = 0; i < MOST_SHARES + 1; i++) {
        snprintf(name, sizeof name, "%d", i);
        snprintf(device, sizeof device, "GPU-%d", i);
        add_share(shares, name, device, MIB, "");
    }
    expect_broken(shares, "more than 16 shares");
}
static void a_path_that_is_too_long_is_broken(void) {
    char shares[512];
    snprintf(shares, sizeof shares, "%s/%0*d", folder, 240, 0);
    add_share(shares, "a", "GPU-x", MIB, "");
    expect_broken(shares, "path is too long");
}

/* --- charges -------------------------------------------------------------------------------------------- */

static void charges_come_back_once_and_as_they_were_put(void) {
    budget card = {.count = 1};
    charged got;
    uint64_t owned_key;
    for (uint64_t key = 1; key <= 5000; key++)
        CHECK(charges_put(CHARGE_POINTER, key * 512, &(charged){&card, key % 3, {{key}}}) == 0);
    CHECK(charges_put(CHARGE_CONTEXT, 512, &(charged){&card, 0, {{77}}}) ==
          0); /* another kind, the same value */
    for (uint64_t key = 1; key <= 5000; key += 2) {
        CHECK(charges_take(CHARGE_POINTER, key * 512, &got) && got.taken.bytes[0] == key &&
              got.card == &card);
        CHECK(!charges_take(CHARGE_POINTER, key * 512, &got));
    }
    CHECK(charges_take(CHARGE_CONTEXT, 512, &got) && got.taken.bytes[0] == 77);
    CHECK(!charges_take(CHARGE_ARRAY, 1024, &got));
    uint64_t owned = 0;
    while (charges_take_owned(1, &owned_key, &got)) owned++;
    CHECK(owned == 833); /* of the even keys those that leave 1 when divided by 3 */
    for (uint64_t key = 2; key <= 5000; key += 2)
        CHECK(charges_take(CHARGE_POINTER, key * 512, &got) == (key % 3 != 1));
    charges_put(CHARGE_POINTER, 1, &got);
    charges_put(CHARGE_POINTER, 1,
                &(charged){&card, 0, {{9}}}); /* an address that the driver gives out again */
    charges_forked();
    CHECK(!charges_take(CHARGE_POINTER, 1, &got));
}

/* --- physical memory ------------------------------------------------------------------------------------ */

static void mapped_memory_is_charged_until_its_last_handle_and_mapping(void) {
    char shares[512], why[512];
    charge taken;
    snprintf(shares, sizeof shares, "%s", in_folder("physical"));
    add_share(shares, "a", "GPU-x", 8 * MIB, "");
    add_share(shares, "b", "GPU-x", 8 * MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    budget *card = budget_of("GPU-x");
    CHECK(budget_reserve(card, 10 * MIB, &taken) == 0);
    ledger_holder holders[2];
    CHECK(budget_holders(card, holders, 2) == 1 && holders[0].pid == (uint32_t)getpid());
    CHECK(holders[0].bytes == 10 * MIB); /* of both shares */

    physical_created(1, card, &taken);
    physical_mapped(0x1000, 0x1000, 1);
    physical_mapped(0x2000, 0x1000, 1);
    physical_mapped(0x9000, 0x1000, 2); /* not ours: imported */
    physical_let_go(physical_hold(2));
    physical_put_back(2, physical_hold(2));
    physical_let_go(physical_hold(1));
    CHECK(physical_hold(1) == NULL && budget_usage(card) == 10 * MIB);
    physical_retained(3, 0x2800);
    physical_retained(3, 0x2800);
    physical_retained(4, 0x9800);
    physical_unmapped(0x1000, 0x2000);
    physical_let_go(physical_hold(3));
    CHECK(budget_usage(card) == 10 * MIB);
    physical *last = physical_hold(3);
    physical_put_back(3, last); /* the driver would not release it */
    CHECK(budget_usage(card) == 10 * MIB);
    physical_let_go(physical_hold(3));
    CHECK(budget_usage(card) == 0);
    CHECK(budget_reserve(card, MIB, &taken) == 0);
    physical_created(5, card, &taken);
    physical_forked();
    CHECK(physical_hold(5) == NULL);
}

/* --- threads -------------------------------------------------------------------------------------------- */

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

int main(int argc, char **argv) {
    CHECK(argc == 2);
    folder = argv[1];
    limits_are_read_as_written();
    limits_that_are_not_clear_are_refused_with_the_line();
    a_limits_file_that_cannot_be_read_says_so();
    a_ledger_that_is_none_is_refused();
    a_ledger_that_changes_while_it_is_used_is_given_up_without_a_crash();
    sizes_are_taken_in_units_and_never_wrap_around();
    asking_what_is_used_takes_no_place();
    a_full_ledger_refuses_one_process_more();
    who_stopped_while_asking_stands_in_nobodys_way();
    what_a_dead_process_held_is_free();
    what_a_dead_process_held_stays_taken_while_its_forks_live();
    alone(two_shares_of_a_card_are_one_budget);
    alone(a_changed_limit_is_taken_up_and_a_broken_one_is_not);
    alone(limits_that_add_up_beyond_all_numbers_are_no_small_limit);
    alone(an_empty_folder_is_broken);
    alone(a_share_without_limits_is_broken);
    alone(no_folder_is_no_limits);
    alone(too_many_shares_of_a_card_are_broken);
    alone(too_many_shares_are_broken);
    alone(a_path_that_is_too_long_is_broken);
    charges_come_back_once_and_as_they_were_put();
    alone(mapped_memory_is_charged_until_its_last_handle_and_mapping);
    threads_of_a_process_share_one_slot_and_lose_nothing();
    printf("policy: as promised\n");
    return 0;
}
