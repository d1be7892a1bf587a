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

/* What the agent's table says of one process, by another way of adding up. */
static unsigned __int128 told_of(const ledger_file *file, uint32_t slot, uint32_t pid) {
    unsigned __int128 total = 0;
    for (uint32_t i = 0; i < LEDGER_EXCESSES && i < file->excess_count; i++)
        if (file->excess[i].slot == slot && file->excess[i].pid == pid)
            total += file->excess[i].bytes / LEDGER_UNIT * LEDGER_UNIT;
    return total;
}

/* The agent's table of any content, of which some entries are ours: it counts in full and is never passed. */
static void fuzz_excess(ledger *book, const uint8_t *data, size_t size) {
    uint32_t me = (uint32_t)getpid();
    ledger_file *file = book->file;
    CHECK(ledger_reserve(book, KIB, MIB) == 0);
    for (size_t i = 0, at = 0; i < LEDGER_EXCESSES; i++, at += 13) {
        ledger_excess *each = &file->excess[i];
        uint8_t chosen = data[at % size];
        memset(each, 0, sizeof *each);
        each->slot = chosen & 1 ? (uint32_t)book->slot : chosen * UINT32_C(0x01010101);
        each->pid = chosen & 2 ? me : chosen;
        for (size_t byte = 0; byte < 8; byte++)
            each->bytes |= (uint64_t)data[(at + 1 + byte) % size] << (8 * byte) >> (chosen & 60);
    }
    file->excess_count = size % 3 ? data[0] : UINT32_MAX;
    unsigned __int128 sum = KIB + told_of(file, (uint32_t)book->slot, me);
    CHECK(ledger_usage(book) == (sum > UINT64_MAX ? UINT64_MAX : (uint64_t)sum));
    CHECK((ledger_reserve(book, KIB, MIB) == 0) == (sum <= MIB - KIB));
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
    if (problem == -ENOMEM && size) fuzz_excess(&book, data, size);
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
