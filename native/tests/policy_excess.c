/* What the node's agent books for processes in a ledger, beyond what they booked themselves. */
#include "../src/budget.h"
#include "policy.h"

static void book_excess(ledger_file *file, uint32_t at, uint32_t slot, uint32_t pid, uint64_t bytes) {
    file->excess[at].slot = slot;
    file->excess[at].bytes = bytes;
    file->excess[at].pid = pid;
    if (file->excess_count <= at) file->excess_count = at + 1;
}

static uint32_t me(void) { return (uint32_t)getpid(); }

static void what_the_agent_books_for_a_process_counts_like_its_own(void) {
    ledger book, other;
    ledger_holder holders[2];
    new_ledger(in_folder("excess"));
    ledger_init(&book, in_folder("excess"));
    ledger_init(&other, in_folder("excess"));
    CHECK(ledger_attach(&other) == 0 && ledger_reserve(&book, 512 * KIB, MIB) == 0);
    book_excess(book.file, 0, (uint32_t)book.slot, me(), 256 * KIB);
    CHECK(ledger_usage(&book) == 768 * KIB && ledger_usage(&other) == 768 * KIB);
    CHECK(ledger_holders(&other, holders, 2) == 1 && holders[0].pid == me() && holders[0].bytes == 768 * KIB);
    CHECK(ledger_reserve(&other, 256 * KIB + 1, MIB) == -ENOMEM);
    CHECK(ledger_reserve(&book, 256 * KIB, MIB) == 0 && ledger_reserve(&other, 1, MIB) == -ENOMEM);
    book_excess(book.file, 0, (uint32_t)book.slot, me(), MIB); /* it grew while the share was full */
    CHECK(ledger_usage(&book) == MIB + 768 * KIB && ledger_reserve(&book, 1, MIB) == -ENOMEM);
    book.file->excess[0].pid = 0; /* about to be written anew */
    CHECK(ledger_usage(&book) == 768 * KIB);
}

static void who_holds_nothing_but_what_the_agent_booked_is_a_holder(void) {
    ledger book;
    ledger_holder holder;
    new_ledger(in_folder("only"));
    ledger_init(&book, in_folder("only"));
    CHECK(ledger_attach(&book) == 0);
    book_excess(book.file, 0, (uint32_t)book.slot, me(), MIB);
    CHECK(ledger_holders(&book, &holder, 1) == 1 && holder.pid == me() && holder.bytes == MIB);
}

static void an_entry_of_another_process_or_place_does_not_count(void) {
    ledger book;
    new_ledger(in_folder("foreign-excess"));
    ledger_init(&book, in_folder("foreign-excess"));
    CHECK(ledger_attach(&book) == 0);
    book_excess(book.file, 0, (uint32_t)book.slot, me() + 1, MIB);
    book_excess(book.file, 1, (uint32_t)book.slot + 1, me(), MIB);
    book_excess(book.file, 2, (uint32_t)book.slot, 0, MIB);
    book_excess(book.file, 3, (uint32_t)book.slot, me(), MIB);
    book.file->excess_count = 3;
    CHECK(ledger_usage(&book) == 0 && ledger_reserve(&book, MIB, MIB) == 0);
}

/* A child that takes a slot and is gone, with so much booked for it by the agent. */
static uint32_t dies_with(ledger *book, uint64_t bytes) {
    int *slot = shared_memory(sizeof *slot);
    pid_t child = fork();
    if (child == 0) {
        ledger_forked(book);
        CHECK(ledger_attach(book) == 0);
        *slot = book->slot;
        book_excess(book->file, 0, (uint32_t)book->slot, me(), bytes);
        _exit(0);
    }
    ends_well(child);
    CHECK(*slot == 0);
    return (uint32_t)child;
}

static void what_was_booked_for_a_dead_process_is_free_at_once(void) {
    ledger book;
    new_ledger(in_folder("dead-excess"));
    ledger_init(&book, in_folder("dead-excess"));
    dies_with(&book, MIB);
    CHECK(ledger_usage(&book) == 0); /* without a place of its own */
    dies_with(&book, MIB);
    CHECK(ledger_reserve(&book, MIB, MIB) == 0 && ledger_usage(&book) == MIB);
}

/* In its own PID namespace, or after a restart, the next process may have the same number. */
static void a_successor_with_the_same_pid_inherits_nothing(void) {
    ledger book, next;
    new_ledger(in_folder("successor"));
    ledger_init(&book, in_folder("successor"));
    ledger_init(&next, in_folder("successor"));
    uint32_t dead = dies_with(&book, MIB);
    CHECK(ledger_attach(&next) == 0 && next.slot == 0);
    next.file->slots[0].pid = dead;
    CHECK(ledger_usage(&next) == 0);

    new_ledger(in_folder("reaped"));
    ledger_init(&book, in_folder("reaped"));
    ledger_init(&next, in_folder("reaped"));
    dead = dies_with(&book, MIB);
    CHECK(ledger_usage(&next) == 0 && next.file->slots[0].pid == 0);
    next.file->slots[0].pid = dead; /* as a limiter that knows of no such entries leaves it */
    CHECK(ledger_usage(&next) == 0);
}

static void a_damaged_table_frees_nothing_and_ends_nobody(void) {
    ledger book;
    new_ledger(in_folder("damaged"));
    ledger_init(&book, in_folder("damaged"));
    CHECK(ledger_reserve(&book, 512 * KIB, MIB) == 0);
    for (uint32_t i = 0; i < LEDGER_EXCESSES; i++)
        book_excess(book.file, i, i % 2 ? UINT32_MAX - i : LEDGER_SLOTS, me(), UINT64_MAX);
    book.file->excess_count = UINT32_MAX;
    CHECK(ledger_usage(&book) == 512 * KIB); /* of places that there are not */
    book_excess(book.file, 7, (uint32_t)book.slot, me(), UINT64_MAX - MIB);
    book_excess(book.file, 9, (uint32_t)book.slot, me(), UINT64_MAX);
    CHECK(ledger_usage(&book) == UINT64_MAX && ledger_reserve(&book, 1, MIB) == -ENOMEM);
    book.file->excess_count = 0;
    CHECK(ledger_usage(&book) == 512 * KIB && ledger_reserve(&book, 512 * KIB + 1, MIB) == -ENOMEM);
    CHECK(ledger_reserve(&book, 512 * KIB, MIB) == 0);
}

static void shares_of_a_card_add_up_with_what_was_booked_in_each(void) {
    const char *shares = in_folder("excess-shares");
    char why[256];
    mkdir(shares, 0777);
    add_share(shares, "one", "GPU-1", MIB, "");
    add_share(shares, "two", "GPU-1", MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    budget *card = budget_of("GPU-1");
    charge taken;
    budget_attach();
    ledger *first = &card->shares[0]->book, *second = &card->shares[1]->book;
    book_excess(first->file, 0, (uint32_t)first->slot, me(), 512 * KIB);
    CHECK(budget_usage(card) == 512 * KIB);
    CHECK(budget_reserve(card, MIB + 512 * KIB + 1, &taken) == -ENOMEM);
    CHECK(budget_reserve(card, MIB + 512 * KIB, &taken) == 0 && budget_usage(card) == 2 * MIB);
    ledger_holder holder;
    CHECK(budget_holders(card, &holder, 1) == 1 && holder.pid == me());
    book_excess(second->file, 0, (uint32_t)second->slot, me(), UINT64_MAX);
    CHECK(budget_usage(card) == UINT64_MAX);
}

void test_excess(void) {
    what_the_agent_books_for_a_process_counts_like_its_own();
    who_holds_nothing_but_what_the_agent_booked_is_a_holder();
    an_entry_of_another_process_or_place_does_not_count();
    what_was_booked_for_a_dead_process_is_free_at_once();
    a_successor_with_the_same_pid_inherits_nothing();
    a_damaged_table_frees_nothing_and_ends_nobody();
    alone(shares_of_a_card_add_up_with_what_was_booked_in_each);
}
