/* Where the configuration and the state of the simulated node are: docs/interfaces.md, "Simulated driver". */
#pragma once

#include <limits.h>
#include <stdbool.h>

struct sim_paths {
    char config[PATH_MAX], state[PATH_MAX];
};

/* False with a complaint on stderr when neither the environment nor the library's place gives the paths. */
bool sim_paths_find(struct sim_paths *paths);
