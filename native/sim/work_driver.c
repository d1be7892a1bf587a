#include "work_driver.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct work_driver driver;
static void *library;

/* By name as any program; then beside this program, which helps in a build folder. */
static void *open_library(void) {
    void *found = dlopen("libcuda.so.1", RTLD_NOW);
    char path[PATH_MAX + 32];
    ssize_t length = found ? 0 : readlink("/proc/self/exe", path, PATH_MAX);
    if (length <= 0) return found;
    path[length] = '\0';
    strcpy(strrchr(path, '/') + 1, "libcuda.so.1");
    return dlopen(path, RTLD_NOW);
}

static bool find(const char *symbol, void *out) {
    void *address = dlsym(library, symbol);
    if (!address) fprintf(stderr, "libcuda.so.1 has no %s; install a newer driver\n", symbol);
    memcpy(out, &address, sizeof address);
    return address != NULL;
}

const char *work_error_name(CUresult result) {
    const char *name = NULL;
    driver.cuGetErrorName(result, &name);
    return name ? name : "an unknown CUDA error";
}

void work_check(CUresult result, const char *what) {
    if (result == CUDA_SUCCESS) return;
    fprintf(stderr, "%s: %s (%d)\n", what, work_error_name(result), (int)result);
    exit(1);
}

bool work_start(int index) {
    library = open_library();
    if (!library) {
        fprintf(stderr, "libcuda.so.1 cannot be loaded: %s; install a driver or set LD_LIBRARY_PATH\n",
                dlerror());
        return false;
    }
#define WORK(member, symbol, parameters) find(#symbol, &driver.member) &&
    if (!(WORK_FUNCTIONS true)) return false;
#undef WORK
    CUdevice device;
    CUcontext context;
    char name[128];
    work_check(driver.cuInit(0), "cuInit");
    work_check(driver.cuDeviceGet(&device, index), "cuDeviceGet");
    work_check(driver.cuDeviceGetName(name, sizeof name, device), "cuDeviceGetName");
    work_check(driver.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
    work_check(driver.cuCtxSetCurrent(context), "cuCtxSetCurrent");
    printf("device %d: %s\n", index, name);
    return true;
}

void work_print_memory(void) {
    size_t available, total;
    work_check(driver.cuMemGetInfo(&available, &total), "cuMemGetInfo");
    printf("cuMemGetInfo: %zu MiB free of %zu MiB\n", available >> 20, total >> 20);
}

void work_load_unseen(unsigned long long bytes) {
    CUresult (*get_table)(const void **, const CUuuid *);
    const struct {
        size_t size;
        CUresult (*load)(size_t bytes);
    } *table;
    CUuuid name;
    memcpy(&name, "hami-sim-runtime", sizeof name);
    if (!find("cuGetExportTable", &get_table)) exit(1);
    work_check(get_table((const void **)&table, &name), "cuGetExportTable of the simulated driver");
    work_check(table->load(bytes), "loading code");
}

const char *work_option(char **argv, const char *name, const char *otherwise) {
    for (size_t length = strlen(name); *argv; argv++) {
        if (strncmp(*argv, name, length) != 0) continue;
        if ((*argv)[length] == '=') return *argv + length + 1;
        if ((*argv)[length] == '\0' && argv[1]) return argv[1];
    }
    return otherwise;
}

unsigned long long work_bytes(const char *text) {
    static const struct {
        const char *suffix;
        int shift;
    } units[] = {{"", 0},   {"Ki", 10}, {"Mi", 20},  {"Gi", 30},  {"K", 10},
                 {"M", 20}, {"G", 30},  {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].suffix) == 0) return number << units[i].shift;
    fprintf(stderr, "'%s' is not a size; write it like 512Mi or 10Gi\n", text);
    exit(2);
}
