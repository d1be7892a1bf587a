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

/* Cuts <root>/usr/lib*[/...]/libcuda.so.1 or <root>/lib*[/...]/libcuda.so.1 to <root>. */
static void cut_to_root(char *library) {
    char *file = strrchr(library, '/'), *end = NULL;
    if (file) *file = '\0';
    for (char *at = library; (at = strstr(at, "/lib")); at++)
        end = at; /* the last: there is lib in /var/lib too */
    if (end && end - library >= 4 && strncmp(end - 4, "/usr", 4) == 0) end -= 4;
    if (end) *end = '\0';
}

static bool below(const char *library, struct sim_paths *paths) {
    char root[PATH_MAX];
    if (strlen(library) + 40 > sizeof root) return false;
    strcpy(root, library);
    cut_to_root(root);
    stpcpy(stpcpy(paths->config, root), "/etc/hami-sim/gpus.yaml");
    stpcpy(stpcpy(paths->state, root), "/var/lib/hami-sim/state");
    return access(paths->config, F_OK) == 0;
}

/* The path by which the library was loaded comes before what symbolic links make of it. */
static bool from_library(struct sim_paths *paths) {
    Dl_info info;
    char real[PATH_MAX];
    if (!dladdr((void *)(uintptr_t)sim_paths_find, &info) || !info.dli_fname) return false;
    if (info.dli_fname[0] == '/' && below(info.dli_fname, paths)) return true;
    return realpath(info.dli_fname, real) && below(real, paths);
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
