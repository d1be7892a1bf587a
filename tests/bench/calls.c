/*
 * bench-calls: times single calls of the CUDA driver, found with dlopen and dlsym as most programs do.
 *
 *   launch ROUNDS     median ns of a launch, over rounds of 256 and a wait
 *   alloc ROUNDS      median ns of cuMemAlloc and cuMemFree of 4 KiB together
 *   start AT          ms from CLOCK_MONOTONIC ns AT until a context has its first memory
 *   storm COUNT MOST  allocates and frees COUNT times up to MOST bytes at once; prints refusals
 *   hold SIZE         holds SIZE bytes, says "held", until its input ends
 *   until SIZE        tries to take SIZE bytes until it can; prints CLOCK_MONOTONIC ns of that
 *   ticks NS          work of NS, one by one; says "ticking", and at the end of
 *                     its input when each ended, in ns of CLOCK_MONOTONIC
 *   spawn ROUNDS      us in which /bin/true starts and ends, lower quartile
 */
#include <dlfcn.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cuda_abi.h"

static void *library;

static void *find(const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "no %s\n", name);
        exit(2);
    }
    return found;
}

#define CALL(name, parameters) ((CUresult(*) parameters)find(#name))

static unsigned long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000000000u + (unsigned long long)t.tv_nsec;
}

static void check(CUresult result, const char *what) {
    if (result == CUDA_SUCCESS) return;
    fprintf(stderr, "%s: %d\n", what, (int)result);
    exit(1);
}

static void open_card(void) {
    CUcontext context;
    library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) exit(2);
    check(CALL(cuInit, (unsigned))(0), "cuInit");
    check(CALL(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))(&context, 0), "retain");
    check(CALL(cuCtxSetCurrent, (CUcontext))(context), "set");
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    printf("%.1f\n", values[count / 2]);
}

/* The simulated driver believes the name and the first parameter; a real card
 * has nothing to do. */
static const char PTX[] = ".version 6.0\n.target sm_50\n.address_size 64\n"
                          ".visible .entry busy_ns(.param .u64 ns, .param .u64 loops) { ret; }";

typedef CUresult (*launch_type)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                unsigned, CUstream, void **, void **);

static CUfunction kernel(void) {
    CUmodule module;
    CUfunction found;
    check(CALL(cuModuleLoadData, (CUmodule *, const void *))(&module, PTX), "load");
    check(CALL(cuModuleGetFunction, (CUfunction *, CUmodule, const char *))(&found, module, "busy_ns"),
          "function");
    return found;
}

static void launch(int rounds) {
    enum { EACH = 256 };
    double *took = calloc((size_t)rounds, sizeof *took);
    CUfunction function = kernel();
    unsigned long long ns = 5000;
    void *parameters[] = {&ns, &ns};
    launch_type go = (launch_type)find("cuLaunchKernel");
    CUresult (*wait)(void) = find("cuCtxSynchronize");
    for (int round = -10; round < rounds; round++) {
        unsigned long long begin = now();
        for (int i = 0; i < EACH; i++) go(function, 1, 1, 1, 32, 1, 1, 0, NULL, parameters, NULL);
        if (round >= 0) took[round] = (double)(now() - begin) / EACH;
        wait();
    }
    print_median(took, rounds);
}

static void alloc(int rounds) {
    enum { EACH = 128 };
    double *took = calloc((size_t)rounds, sizeof *took);
    CUresult (*take)(CUdeviceptr *, size_t) = find("cuMemAlloc_v2");
    CUresult (*give)(CUdeviceptr) = find("cuMemFree_v2");
    for (int round = -10; round < rounds; round++) {
        CUdeviceptr pointer;
        unsigned long long begin = now();
        for (int i = 0; i < EACH; i++) {
            check(take(&pointer, 4096), "take");
            give(pointer);
        }
        if (round >= 0) took[round] = (double)(now() - begin) / EACH;
    }
    print_median(took, rounds);
}

static void start(unsigned long long at) {
    CUdeviceptr pointer;
    while (now() < at) usleep(50);
    unsigned long long begin = now();
    open_card();
    check(CALL(cuMemAlloc_v2, (CUdeviceptr *, size_t))(&pointer, 4096), "take");
    printf("%.3f\n", (double)(now() - begin) / 1e6);
}

static void storm(int count, size_t most) {
    enum { HELD = 8 };
    CUdeviceptr held[HELD] = {0};
    CUresult (*take)(CUdeviceptr *, size_t) = find("cuMemAlloc_v2");
    CUresult (*give)(CUdeviceptr) = find("cuMemFree_v2");
    int refused = 0;
    unsigned seed = (unsigned)getpid();
    for (int i = 0; i < count; i++) {
        CUdeviceptr *one = &held[(unsigned)rand_r(&seed) % HELD];
        if (*one) give(*one), *one = 0;
        if (take(one, 1 + (size_t)rand_r(&seed) % most) != CUDA_SUCCESS) *one = 0, refused++;
    }
    printf("%d\n", refused);
}

static int input_ended(int patience_ms) {
    struct pollfd in = {.fd = 0, .events = POLLIN};
    return poll(&in, 1, patience_ms) != 0;
}

static void hold(size_t size) {
    CUdeviceptr pointer;
    check(CALL(cuMemAlloc_v2, (CUdeviceptr *, size_t))(&pointer, size), "take");
    puts("held");
    fflush(stdout);
    input_ended(-1);
}

static void until(size_t size) {
    CUdeviceptr pointer;
    CUresult (*take)(CUdeviceptr *, size_t) = find("cuMemAlloc_v2");
    puts("trying");
    fflush(stdout);
    while (take(&pointer, size) != CUDA_SUCCESS) usleep(100);
    printf("%llu\n", now());
}

static void ticks(unsigned long long ns) {
    enum { MOST = 1 << 20 };
    unsigned long long *ends = calloc(MOST, sizeof *ends);
    void *parameters[] = {&ns, &ns};
    CUfunction function = kernel();
    launch_type go = (launch_type)find("cuLaunchKernel");
    CUresult (*wait)(void) = (CUresult (*)(void))find("cuCtxSynchronize");
    int count = 0;
    while (count < MOST && !input_ended(0)) {
        check(go(function, 1, 1, 1, 32, 1, 1, 0, NULL, parameters, NULL), "launch");
        check(wait(), "wait");
        ends[count] = now();
        if (count++ == 0) puts("ticking"), fflush(stdout);
    }
    for (int i = 0; i < count; i++) printf("%llu ", ends[i]);
    printf("\n");
}

static void spawn(int rounds) {
    char *arguments[] = {"/bin/true", NULL};
    double *took = calloc((size_t)rounds, sizeof *took);
    for (int round = 0; round < rounds; round++) {
        pid_t child;
        unsigned long long begin = now();
        if (posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ)) exit(2);
        waitpid(child, NULL, 0);
        took[round] = (double)(now() - begin) / 1e3;
    }
    qsort(took, (size_t)rounds, sizeof *took, by_value);
    printf("%.1f\n", took[rounds / 4]);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    unsigned long long first = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    unsigned long long second = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    if (!strcmp(what, "start")) return start(first), 0;
    if (!strcmp(what, "spawn")) return spawn((int)first), 0;
    open_card();
    if (!strcmp(what, "ticks")) return ticks(first), 0;
    if (!strcmp(what, "launch")) return launch((int)first), 0;
    if (!strcmp(what, "alloc")) return alloc((int)first), 0;
    if (!strcmp(what, "storm")) return storm((int)first, (size_t)second), 0;
    if (!strcmp(what, "hold")) return hold((size_t)first), 0;
    if (!strcmp(what, "until")) return until((size_t)first), 0;
    fprintf(stderr, "usage: see the source\n");
    return 2;
}
