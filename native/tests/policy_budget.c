/* Shares of one card as one budget. */
#include <dlfcn.h>
#include <pthread.h>
#include <sys/resource.h>

#include "../src/budget.h"
#include "policy.h"

static void two_shares_of_a_card_are_one_budget(void) {
    char shares[512], why[256];
    snprintf(shares, sizeof shares, "%s", in_folder("two"));
    add_share(shares, "a", "GPU-x", 3 * MIB, "oversubscribe=1\n");
    add_share(shares, "b", "gpu-X", 2 * MIB, "log_level=3\n");
    add_share(shares, "c", "GPU-y", MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    budget *card = budget_of("GPU-X"), *other = budget_of("GPU-Y");
    CHECK(card && other && card != other && !budget_of("GPU-z") && budget_of("x") == card);
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

static void a_change_that_could_not_be_read_is_read_later(void) {
    char shares[512], why[512];
    struct rlimit usual, none = {3, 3};
    snprintf(shares, sizeof shares, "%s", in_folder("later"));
    add_share(shares, "a", "GPU-x", MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    add_share(shares, "a", "GPU-x", 3 * MIB, "");
    CHECK(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    none.rlim_max = usual.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0 && budget_limit(budget_of("GPU-x")) == MIB);
    CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    usleep(100 * 1000);
    CHECK(budget_limit(budget_of("GPU-x")) == 3 * MIB);
}

static void *refresh(void *unused) {
    budget_refresh();
    return unused;
}

static void the_child_of_a_fork_takes_up_what_its_parent_was_about_to(void) {
    char shares[512], why[512], file[512];
    pthread_t parents;
    snprintf(shares, sizeof shares, "%s", in_folder("forked"));
    add_share(shares, "a", "GPU-x", MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    snprintf(file, sizeof file, "%s", in_folder("forked/a/limits"));
    CHECK(unlink(file) == 0 && mkfifo(file, 0666) == 0);
    CHECK(pthread_create(&parents, NULL, refresh, NULL) == 0);
    CHECK(open(file, O_WRONLY) >= 0); /* the thread has it open now, and waits for what nobody writes */
    pid_t child = fork();
    if (child == 0) {
        CHECK(unlink(file) == 0);
        add_share(shares, "a", "GPU-x", 3 * MIB, "");
        budget_forked();
        CHECK(budget_limit(budget_of("GPU-x")) == 3 * MIB);
        _exit(0);
    }
    ends_well(child);
}

/* It would end at the next call that can end a thread, and opening a file is one. */
static void *reserve_though_cancelled(void *card) {
    charge taken;
    pthread_cancel(pthread_self());
    CHECK(budget_reserve(card, MIB, &taken) == 0);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return card;
}

static void a_thread_that_is_cancelled_does_not_end_while_it_reserves(void) {
    char shares[512], why[512];
    pthread_t thread;
    void *card, *ended;
    if (!dlopen("libgcc_s.so.1", RTLD_LAZY)) return; /* without it no thread can be cancelled */
    snprintf(shares, sizeof shares, "%s", in_folder("cancelled"));
    add_share(shares, "a", "GPU-x", MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    usleep(100 * 1000);
    add_share(shares, "a", "GPU-x", 3 * MIB, "");
    card = budget_of("GPU-x");
    CHECK(pthread_create(&thread, NULL, reserve_though_cancelled, card) == 0);
    CHECK(pthread_join(thread, &ended) == 0 && ended == card);
    CHECK(budget_usage(card) == MIB && budget_limit(card) == 3 * MIB);
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
    snprintf(shares, sizeof shares, "%s%0*d", in_folder(""), 240, 0);
    add_share(shares, "a", "GPU-x", MIB, "");
    expect_broken(shares, "path is too long");
}

void test_budget(void) {
    alone(two_shares_of_a_card_are_one_budget);
    alone(a_changed_limit_is_taken_up_and_a_broken_one_is_not);
    alone(a_change_that_could_not_be_read_is_read_later);
    alone(the_child_of_a_fork_takes_up_what_its_parent_was_about_to);
    alone(a_thread_that_is_cancelled_does_not_end_while_it_reserves);
    alone(limits_that_add_up_beyond_all_numbers_are_no_small_limit);
    alone(an_empty_folder_is_broken);
    alone(a_share_without_limits_is_broken);
    alone(no_folder_is_no_limits);
    alone(too_many_shares_of_a_card_are_broken);
    alone(too_many_shares_are_broken);
    alone(a_path_that_is_too_long_is_broken);
}
