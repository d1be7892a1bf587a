#include "ledger_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include "../include/ledger.h"

enum { MOST = 64 };

static _Atomic uintptr_t guarded[MOST];
static struct sigaction before;

static bool replaced(uintptr_t address) {
    for (int i = 0; i < MOST; i++) {
        uintptr_t start = atomic_load(&guarded[i]);
        if (!start || address < start || address >= start + LEDGER_SIZE) continue;
        return mmap((void *)start, LEDGER_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
    }
    return false;
}

static void on_bus_error(int signal, siginfo_t *info, void *context) {
    int saved = errno;
    bool ours = info->si_code > 0 && replaced((uintptr_t)info->si_addr);
    errno = saved;
    if (ours) return;
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(signal, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(signal);
    } else {
        sigaction(signal, &before, NULL);
        if (info->si_code <= 0) raise(signal); /* else the fault comes again */
    }
}

static void install(void) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &before);
}

void ledger_guard(void *start) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install);
    for (int i = 0; i < MOST; i++) {
        uintptr_t free = 0;
        if (atomic_compare_exchange_strong(&guarded[i], &free, (uintptr_t)start)) return;
        if (free == (uintptr_t)start) return;
    }
}
