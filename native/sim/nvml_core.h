/* Shared by the files of the simulated libnvidia-ml. */
#pragma once

#include "node.h"
#include "nvml_abi.h"
#include "nvml_faults.h"

#define NVML_API __attribute__((visibility("default")))

/* The node between nvmlInit and nvmlShutdown, else NULL. */
struct sim_node *nvml_node(void);

/* The card (or MIG instance) behind a handle, or NULL; what to return then is nvml_bad_device(). */
struct sim_gpu *nvml_gpu(nvmlDevice_t device);
nvmlReturn_t nvml_bad_device(void);

/* Copies a string with its end, or says INSUFFICIENT_SIZE. */
nvmlReturn_t nvml_copy(char *out, unsigned size, const char *text);

/* Begins a function about one card: checks handle and result pointer, leaves the card in `gpu`. */
#define NVML_ENTER(device, out)                                                                              \
    struct sim_gpu *gpu = nvml_gpu(device);                                                                  \
    if (!gpu) return nvml_bad_device();                                                                      \
    if (sim_fault_lost(gpu)) return NVML_ERROR_GPU_IS_LOST;                                                  \
    if (!(out)) return NVML_ERROR_INVALID_ARGUMENT
