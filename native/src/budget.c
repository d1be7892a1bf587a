#include "budget.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static share shares[MOST_SHARES];
static int share_count;
static budget budgets[MOST_SHARES];
static int budget_count;

enum { REFRESH_NS = 20000000 };
static _Atomic uint64_t next_refresh; /* never, while a thread is at it */

static int add_to_card(share *each) {
    budget *card = budget_of(each->limit.device);
    if (!card) {
        card = &budgets[budget_count++];
        snprintf(card->device, sizeof card->device, "%s", each->limit.device);
    }
    if (card->count == MOST_SHARES_OF_CARD) return -EUSERS;
    card->shares[card->count++] = each;
    return 0;
}

/* Whether the limits file is another than the one that was read. */
static bool newer(share *each) {
    struct stat status;
    if (stat(each->limits_path, &status) != 0) return false;
    bool same = status.st_ino == each->inode && status.st_mtim.tv_sec == each->changed.tv_sec &&
                status.st_mtim.tv_nsec == each->changed.tv_nsec;
    each->inode = status.st_ino;
    each->changed = status.st_mtim;
    return !same;
}

static int add_share(const char *folder, const char *name, char *why, size_t why_size) {
    if (share_count == MOST_SHARES) {
        snprintf(why, why_size, "%s: more than %d shares", folder, MOST_SHARES);
        return -EUSERS;
    }
    share *each = &shares[share_count];
    char path[240], reason[128];
    if (snprintf(path, sizeof path, "%s/%s/limits", folder, name) >= (int)sizeof path) {
        snprintf(why, why_size, "%s: the path is too long", folder);
        return -ENAMETOOLONG;
    }
    snprintf(each->limits_path, sizeof each->limits_path, "%s", path);
    newer(each);
    int problem = limits_read(path, &each->limit, reason, sizeof reason);
    if (problem) {
        snprintf(why, why_size, "%s: %s", path, reason);
        return problem;
    }
    snprintf(path, sizeof path, "%s/%s/ledger", folder, name);
    ledger_init(&each->book, path);
    share_count++;
    problem = add_to_card(each);
    if (problem) snprintf(why, why_size, "%s: more than %d shares of one card", folder, MOST_SHARES_OF_CARD);
    return problem;
}

shares_state budget_load(const char *folder, char *why, size_t why_size) {
    DIR *listing = opendir(folder);
    if (!listing) {
        if (errno == ENOENT) return SHARES_NONE;
        snprintf(why, why_size, "%s cannot be read (%s)", folder, strerror(errno));
        return SHARES_BROKEN;
    }
    int problem = 0;
    for (struct dirent *entry; !problem && (entry = readdir(listing));)
        if (entry->d_name[0] != '.') problem = add_share(folder, entry->d_name, why, why_size);
    closedir(listing);
    if (!problem && share_count == 0) {
        snprintf(why, why_size, "%s holds no share", folder);
        return SHARES_BROKEN;
    }
    return problem ? SHARES_BROKEN : SHARES_USABLE;
}

/* A file that cannot be used changes nothing: what is in force stays in force. It is tried again, as the
 * program may have no descriptor left at the moment. */
static void take_up(share *each) {
    limits fresh;
    char why[128];
    if (limits_read(each->limits_path, &fresh, why, sizeof why) != 0) {
        each->inode = 0;
        return;
    }
    if (strcmp(fresh.share, each->limit.share) != 0 || strcasecmp(fresh.device, each->limit.device) != 0)
        return;
    each->limit.memory = fresh.memory;
    each->limit.cores = fresh.cores;
    each->limit.soft = fresh.soft;
}

void budget_refresh(void) {
    struct timespec clock;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &clock);
    uint64_t now = (uint64_t)clock.tv_sec * 1000000000u + (uint64_t)clock.tv_nsec;
    uint64_t due = atomic_load_explicit(&next_refresh, memory_order_relaxed);
    if (now < due || !atomic_compare_exchange_strong(&next_refresh, &due, UINT64_MAX)) return;
    int before = PTHREAD_CANCEL_ENABLE;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before); /* or nobody would ever look again */
    for (int i = 0; i < share_count; i++)
        if (newer(&shares[i])) take_up(&shares[i]);
    atomic_store(&next_refresh, now + REFRESH_NS);
    pthread_setcancelstate(before, NULL);
}

budget *budget_all(int *count) {
    *count = budget_count;
    return budgets;
}

/* Behind its prefix: a UUID is "GPU-..." or "MIG-...", and CUDA tells the number alone. */
static const char *number_of(const char *uuid) {
    const char *dash = strchr(uuid, '-');
    return dash ? dash + 1 : uuid;
}

budget *budget_of(const char *uuid) {
    for (int i = 0; i < budget_count; i++)
        if (strcasecmp(number_of(budgets[i].device), number_of(uuid)) == 0) return &budgets[i];
    return NULL;
}

uint64_t budget_limit(const budget *self) {
    budget_refresh();
    uint64_t total = 0;
    for (int i = 0; i < self->count; i++) total = plus(total, self->shares[i]->limit.memory);
    return total;
}

uint64_t budget_usage(const budget *self) {
    uint64_t total = 0;
    for (int i = 0; i < self->count; i++) total = plus(total, ledger_usage(&self->shares[i]->book));
    return total;
}

/* What is left of one share now, in whole units; a hint for splitting, not a promise. */
static uint64_t room(share *each) {
    uint64_t used = ledger_usage(&each->book), limit = each->limit.memory / LEDGER_UNIT * LEDGER_UNIT;
    return used < limit ? limit - used : 0;
}

int budget_reserve(const budget *self, uint64_t size, charge *taken) {
    memset(taken, 0, sizeof *taken);
    if (size > UINT64_MAX - LEDGER_UNIT) return -ENOMEM;
    size = (size + LEDGER_UNIT - 1) / LEDGER_UNIT * LEDGER_UNIT;
    budget_refresh();
    /* Whole from one share, as nearly always; a refusal here is final when there is only one. */
    int problem = -ENOMEM;
    for (int i = 0; i < self->count; i++) {
        problem = ledger_reserve(&self->shares[i]->book, size, self->shares[i]->limit.memory);
        if (problem == 0) {
            taken->bytes[i] = size;
            return 0;
        }
    }
    if (self->count == 1 || problem != -ENOMEM) return problem;
    uint64_t left = size;
    for (int i = 0; i < self->count && left > 0; i++) {
        uint64_t part = room(self->shares[i]);
        if (part > left) part = left;
        if (part && ledger_reserve(&self->shares[i]->book, part, self->shares[i]->limit.memory) == 0) {
            taken->bytes[i] = part;
            left -= part;
        }
    }
    if (left == 0) return 0;
    budget_refund(self, taken);
    memset(taken, 0, sizeof *taken);
    return -ENOMEM;
}

void budget_refund(const budget *self, const charge *taken) {
    for (int i = 0; i < self->count; i++)
        if (taken->bytes[i]) ledger_refund(&self->shares[i]->book, taken->bytes[i]);
}

uint64_t charge_bytes(const charge *taken) {
    uint64_t total = 0;
    for (int i = 0; i < MOST_SHARES_OF_CARD; i++) total += taken->bytes[i];
    return total;
}

void charge_add(charge *to, const charge *more) {
    for (int i = 0; i < MOST_SHARES_OF_CARD; i++) to->bytes[i] += more->bytes[i];
}

int budget_extend(const budget *self, charge *taken, uint64_t more) {
    charge added;
    int problem = budget_reserve(self, more, &added);
    if (!problem) charge_add(taken, &added);
    return problem;
}

/* A part of a charge on its own. */
static charge split(charge *from, uint64_t size) {
    charge part = {0};
    for (int i = MOST_SHARES_OF_CARD - 1; i >= 0 && size > 0; i--) {
        part.bytes[i] = from->bytes[i] < size ? from->bytes[i] : size;
        from->bytes[i] -= part.bytes[i];
        size -= part.bytes[i];
    }
    return part;
}

void budget_shrink(const budget *self, charge *taken, uint64_t keep) {
    uint64_t held = charge_bytes(taken);
    if (held <= keep) return;
    charge back = split(taken, (held - keep) / LEDGER_UNIT * LEDGER_UNIT);
    budget_refund(self, &back);
}

bool budget_oversubscribes(const budget *self) {
    for (int i = 0; i < self->count; i++)
        if (self->shares[i]->limit.oversubscribe) return true;
    return false;
}

void budget_attach(void) {
    for (int i = 0; i < share_count; i++) ledger_attach(&shares[i].book);
}

int budget_log_level(void) {
    int level = -1;
    for (int i = 0; i < share_count; i++)
        if (shares[i].limit.log_level > level) level = shares[i].limit.log_level;
    return level;
}

int budget_holders(const budget *self, ledger_holder *holders, int most) {
    int count = 0;
    for (int i = 0; i < self->count; i++) {
        int begin = count, found = ledger_holders(&self->shares[i]->book, holders + count, most - count);
        count += found < most - count ? found : most - count;
        for (int at = begin; at < count; at++) /* a process may hold memory of several shares */
            for (int earlier = 0; earlier < begin; earlier++)
                if (holders[earlier].pid == holders[at].pid) {
                    holders[earlier].bytes = plus(holders[earlier].bytes, holders[at].bytes);
                    holders[at--] = holders[--count];
                    break;
                }
    }
    return count;
}

uint64_t budget_context_bytes(const budget *self) {
    ledger *book = &self->shares[0]->book;
    return ledger_attach(book) == 0 ? atomic_load(&book->file->context_bytes) : 0;
}

/* Of several measurements at once the smallest has the least of others' memory in it. */
void budget_learn_context(const budget *self, uint64_t bytes) {
    ledger *book = &self->shares[0]->book;
    if (ledger_attach(book) != 0) return;
    uint64_t known = atomic_load(&book->file->context_bytes);
    while ((!known || bytes < known) &&
           !atomic_compare_exchange_weak(&book->file->context_bytes, &known, bytes)) {
    }
}

void budget_forked(void) {
    atomic_store(&next_refresh, 0);
    for (int i = 0; i < share_count; i++) ledger_forked(&shares[i].book);
}
