#include "paths.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"

static uint64_t fnv1a(const char *text) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return hash;
}

static bool from_environment(const char *file, struct sim_paths *paths) {
    if (!realpath(file, paths->config)) {
        sim_complain("%s:1: cannot be read: %s; let HAMI_SIM_FILE name a readable file", file,
                     strerror(errno));
        return false;
    }
    snprintf(paths->state, sizeof paths->state, "/dev/shm/hami-sim-%u-%016llx", (unsigned)geteuid(),
             (unsigned long long)fnv1a(paths->config));
    return true;
}

/* <root>/usr/lib*[/...]/libcuda.so.1 -> <root>; also <root>/lib*[/...]. */
static bool from_library(struct sim_paths *paths) {
    static const char *const configs = "/etc/hami-sim/gpus.yaml", *const states = "/var/lib/hami-sim/state";
    Dl_info info;
    char library[PATH_MAX];
    if (!dladdr((void *)(uintptr_t)sim_paths_find, &info) || !info.dli_fname ||
        !realpath(info.dli_fname, library))
        return false;
    char *end = strstr(library, "/usr/lib");
    if (!end) end = strstr(library, "/lib");
    if (!end) end = library;
    *end = '\0';
    if (strlen(library) + 40 > sizeof paths->config) return false;
    stpcpy(stpcpy(paths->config, library), configs);
    stpcpy(stpcpy(paths->state, library), states);
    return access(paths->config, F_OK) == 0;
}

bool sim_paths_find(struct sim_paths *paths) {
    const char *file = getenv("HAMI_SIM_FILE"), *state = getenv("HAMI_SIM_STATE");
    if (file && *file) {
        if (!from_environment(file, paths)) return false;
    } else if (!from_library(paths)) {
        sim_complain("no configuration at %s; set HAMI_SIM_FILE to a YAML file of simulated GPUs",
                     paths->config);
        return false;
    }
    if (state && *state) {
        if (strlen(state) >= sizeof paths->state) return false;
        strcpy(paths->state, state);
    }
    return true;
}
