/* hami-fill: allocates memory of the card until it is refused, or exactly as much as asked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "work_driver.h"

static const char usage[] =
    "usage: hami-fill [--chunk SIZE] [--total SIZE] [--hold SECONDS] [--device INDEX] [--unseen SIZE]\n"
    "  --total: allocate exactly that much and say OK or refused; without it, until refused\n"
    "  --unseen: before, load so much code as the CUDA runtime does, past all entry points (simulated "
    "driver)\n";

int main(int argc, char **argv) {
    (void)argc;
    if (argv[1] && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"))) return printf("%s", usage) < 0;
    setvbuf(stdout, NULL, _IOLBF, 0); /* who watches a held allocation reads our lines at once */
    const char *total_text = work_option(argv, "--total", NULL);
    unsigned long long chunk = work_bytes(work_option(argv, "--chunk", "64Mi")),
                       total = total_text ? work_bytes(total_text) : 0, got = 0;
    if (chunk == 0) chunk = total ? total : 1 << 20;
    if (!work_start(atoi(work_option(argv, "--device", "0")))) return 1;
    const char *unseen = work_option(argv, "--unseen", NULL);
    if (unseen) work_load_unseen(work_bytes(unseen));
    work_print_memory();

    CUresult result = CUDA_SUCCESS;
    while (result == CUDA_SUCCESS && (!total_text || got < total)) {
        unsigned long long size = total_text && total - got < chunk ? total - got : chunk;
        CUdeviceptr pointer;
        result = driver.cuMemAlloc(&pointer, size);
        if (result == CUDA_SUCCESS) got += size;
    }
    printf("allocated %llu MiB\n", got >> 20);
    work_print_memory();
    bool fitted = result == CUDA_SUCCESS;
    if (fitted)
        printf("OK\n");
    else
        printf("refused: %s (%d)\n", work_error_name(result), (int)result);
    unsigned hold = (unsigned)atoi(work_option(argv, "--hold", "0"));
    while (hold) hold = sleep(hold);
    return total_text ? !fitted : result != CUDA_ERROR_OUT_OF_MEMORY;
}
