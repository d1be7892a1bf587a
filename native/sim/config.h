/* The simulated machine as its YAML file describes it: driver and cards. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_MAX_GPUS 16
#define SIM_MIB      (UINT64_C(1) << 20)

struct sim_gpu {
    char product[96], uuid[80], brand[32], architecture[32], serial[30], pcie_root[32];
    char mig[96];         /* profiles of its MIG instances ("1g.6gb 2g.12gb"); empty: not in MIG mode */
    int minor, numa_node; /* numa_node -1: none */
    unsigned cc_major, cc_minor, multiprocessors;
    unsigned pci_domain, pci_bus, pci_device, pci_function;
    uint64_t memory, context; /* bytes: the card's memory, and what one CUDA context takes of it */
    unsigned power_limit_watts, power_idle_watts, temperature;
    int card; /* place in the file, which is its index in the shared state */
    int line; /* where the card begins in the file, for messages */
};

struct sim_config {
    char driver_version[80];
    unsigned cuda_version; /* 12040 for 12.4 */
    bool need_device_node; /* only cards with a /dev/nvidia<minor> are visible, as for a real driver */
    int gpus;
    struct sim_gpu gpu[SIM_MAX_GPUS];
};

/*
 * Reads `path` into `config`. On failure returns false with one line "PATH:LINE: what is wrong; how to fix"
 * in `error`.
 */
bool sim_config_read(const char *path, struct sim_config *config, char *error, size_t error_size);

/* Removes the cards that have no device node when the file asks for that. */
void sim_config_hide_absent(struct sim_config *config);
