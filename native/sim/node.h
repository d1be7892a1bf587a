/* The simulated node as this process sees it: configuration and shared state, opened once by each library. */
#pragma once

#include "paths.h"
#include "state.h"

struct sim_node {
    struct sim_paths paths;
    struct sim_config config; /* the visible cards */
    struct sim_state *state;
};

/* The node, or NULL after a complaint on stderr. A failure is tried again at the next call. */
struct sim_node *sim_node(void);

/* "00000000:65:01.0" with eight digits of domain, or four. */
void sim_bus_id(const struct sim_gpu *gpu, int domain_digits, char *out, size_t size);

/* The card with that PCI address, NULL when there is none. */
struct sim_gpu *sim_gpu_by_bus_id(struct sim_node *node, const char *text);
