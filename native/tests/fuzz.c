/*
 * The two files that the limiter reads and does not trust, for libFuzzer: the first byte chooses. `limits` is
 * parsed as it is; a ledger is filled with the bytes, over and over, and used. Neither may crash, hang or
 * grant more than the limit.
 */
#include "../src/ledger.h"
#include "../src/limits.h"
#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_limits(const char *text, size_t size) {
    limits got;
    char why[128] = "";
    int problem = limits_parse(text, size, &got, why, sizeof why);
    CHECK(problem == 0 || (problem == -EINVAL && *why));
    CHECK(problem ||
          (got.memory <= INT64_MAX && got.cores <= 100 && got.log_level >= -1 && got.log_level <= 4));
    CHECK(problem || (memchr(got.device, 0, LIMITS_ID) && memchr(got.share, 0, LIMITS_ID)));
}

static void fuzz_ledger(const uint8_t *data, size_t size) {
    static char path[64];
    static uint8_t content[LEDGER_SIZE];
    if (!*path) snprintf(path, sizeof path, "/tmp/fuzz-ledger-%d", getpid());
    for (size_t i = 0; size && i < sizeof content; i++) content[i] = data[i % size];
    if (size && data[0] % 2) memcpy(content, &(uint64_t){LEDGER_MAGIC}, 8);
    write_file(path, (char *)content, sizeof content);
    ledger book;
    ledger_init(&book, path);
    ledger_holder holders[4];
    uint64_t used = ledger_usage(&book);
    CHECK(ledger_holders(&book, holders, 4) >= 0);
    int problem = ledger_reserve(&book, 2 * MIB, MIB);
    CHECK(problem == -ENOMEM || problem == -EPROTO);
    CHECK(used == 0); /* nobody's lock is there, so nobody lives */
    if (book.file) munmap(book.file, LEDGER_SIZE);
    if (book.lock_fd >= 0) close(book.lock_fd);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    if (data[0] % 8)
        fuzz_limits((const char *)data + 1, size - 1);
    else
        fuzz_ledger(data + 1, size - 1);
    return 0;
}
