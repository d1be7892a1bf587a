/* Shares -> the budget of each card: shares of one card add up, keyed by its UUID. Policy only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "ledger.h"
#include "limits.h"

enum { MOST_SHARES = 16, MOST_SHARES_OF_CARD = 4 };

typedef struct {
    limits limit;
    ledger book;
    char limits_path[256];
    struct timespec changed; /* of the limits file, when it was read */
    ino_t inode;
} share;

/* What one allocation took from each share of its card. */
typedef struct {
    uint64_t bytes[MOST_SHARES_OF_CARD];
} charge;

typedef struct {
    char device[LIMITS_ID];
    int count;
    share *shares[MOST_SHARES_OF_CARD];
} budget;

typedef enum { SHARES_NONE, SHARES_USABLE, SHARES_BROKEN } shares_state;

/* Read the shares below FOLDER once; SHARES_NONE when it is not there. WHY says what is broken. */
shares_state budget_load(const char *folder, char *why, size_t why_size);

/* Take up limits that were changed on the node; cheap, as it looks only every 20 ms. */
void budget_refresh(void);

/* The budget of a card; NULL when this container holds no share of it. */
budget *budget_of(const char *uuid);

/* Bytes that the container may use of the card, and uses. */
uint64_t budget_limit(const budget *self);
uint64_t budget_usage(const budget *self);

/* Take SIZE bytes, if need be from several shares; 0 or -errno as ledger_reserve. */
int budget_reserve(const budget *self, uint64_t size, charge *taken);
void budget_refund(const budget *self, const charge *taken);

/* What a charge holds; put MORE to it; take more beside it; give back what it holds beyond KEEP bytes. */
uint64_t charge_bytes(const charge *taken);
void charge_add(charge *to, const charge *more);
int budget_extend(const budget *self, charge *taken, uint64_t more);
void budget_shrink(const budget *self, charge *taken, uint64_t keep);

/* Whether what does not fit may be served from host memory instead. */
bool budget_oversubscribes(const budget *self);

/* Take the slots of all shares now: before the driver opens its own files (see there). */
void budget_attach(void);

/* The log level that the shares ask for, the highest; -1 when none does. */
int budget_log_level(void);

/* The live processes that hold memory of the card through its shares; how many of at most MOST. */
int budget_holders(const budget *self, ledger_holder *holders, int most);

/* What a context of this card costs as far as known, in bytes; 0 unknown. */
uint64_t budget_context_bytes(const budget *self);
void budget_learn_context(const budget *self, uint64_t bytes);

/* All budgets of the container. */
budget *budget_all(int *count);

/* In the child of a fork. */
void budget_forked(void);
