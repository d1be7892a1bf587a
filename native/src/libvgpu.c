/* Where the limiter begins and ends in a process: the first call of a driver, and the exit. */
#include <stdatomic.h>
#include <unistd.h>

#include "cards.h"
#include "hooks.h"
#include "log.h"

static _Atomic int greeted;

static void greet(void) {
    if (atomic_exchange(&greeted, 1) == 0) log_message("Initializing.....");
}

/* The lock of our slots goes with the process; there is nothing that must be cleaned up here. */
__attribute__((destructor)) static void leave(void) {
    if (!atomic_load(&greeted)) return;
    log_message("Cleanup on exit for PID %d", getpid());
    log_message("Exit cleanup complete for PID %d", getpid());
}

/*
 * The slots are taken before the driver opens its files. When the process dies the kernel lets go of files in
 * the order of their numbers, and releases the last first: so the driver's go before the lock that says that
 * we are alive, and nobody is given memory that the driver has not yet freed.
 */
CUresult cuInit(unsigned int flags) {
    cuInit_type real = REAL(cuInit);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    greet();
    if (cards_are_limited()) budget_attach();
    CUresult result = real(flags);
    if (result != CUDA_SUCCESS) let_go_of_driver();
    return result;
}

nvmlReturn_t nvmlInit(void) {
    nvmlInit_type real = REAL(nvmlInit);
    if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;
    greet();
    return real();
}

nvmlReturn_t nvmlInit_v2(void) {
    nvmlInit_v2_type real = REAL(nvmlInit_v2);
    if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;
    greet();
    return real();
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    nvmlInitWithFlags_type real = REAL(nvmlInitWithFlags);
    if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;
    greet();
    return real(flags);
}
