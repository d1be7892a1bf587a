/* hami-burn: computes for a while and says how much device time it got. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "work_driver.h"

static const char usage[] = "usage: hami-burn [--seconds N] [--kernel-us N] [--device INDEX]\n";

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    (void)argc;
    if (argv[1] && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"))) return printf("%s", usage) < 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    double seconds = atof(work_option(argv, "--seconds", "10"));
    unsigned long long kernel_us = strtoull(work_option(argv, "--kernel-us", "1000"), NULL, 10), launched = 0;
    if (!work_start(atoi(work_option(argv, "--device", "0")))) return 1;
    work_print_memory();

    CUmodule module;
    CUfunction kernel;
    work_check(driver.cuModuleLoadData(&module, ".version 7.0 .target sm_70"), "cuModuleLoadData");
    work_check(driver.cuModuleGetFunction(&kernel, module, "busy_us"), "cuModuleGetFunction");
    void *parameters[] = {&kernel_us};
    double begin = now();
    while (now() - begin < seconds) {
        /* About 10 ms of work between two waits, so that the end is not far behind. */
        for (unsigned long long us = 0; us < 10000; us += kernel_us ? kernel_us : 1, launched++)
            work_check(driver.cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, NULL, parameters, NULL),
                       "cuLaunchKernel");
        work_check(driver.cuCtxSynchronize(), "cuCtxSynchronize");
    }
    double elapsed = now() - begin, device = (double)launched * (double)kernel_us / 1e6;
    printf("launched %llu kernels of %llu us: %.2f s of device time in %.2f s, %.1f %%\n", launched,
           kernel_us, device, elapsed, 100 * device / elapsed);
    return 0;
}
