/* Memory that graphs allocate. */
#pragma once

#include "cuda_core.h"

/* Of one executable graph. */
struct cuda_graph_memory {
    uint64_t bytes[SIM_MAX_GPUS]; /* that its nodes allocate */
    bool taken;
};

/* At each launch. */
CUresult cuda_graph_take(struct cuda_graph_memory *self);

/* A launch has allocated what the graph does not free; false: it lives already. */
void cuda_graph_lives(struct cuda_graph_memory *self, CUdevice device, CUdeviceptr at, uint64_t bytes);

/* The memory around `address` that a launch allocated and nobody has freed; false: there is none. */
bool cuda_graph_find(CUdeviceptr address, CUdeviceptr *start, size_t *size, CUdevice *device);

/* It is freed, by another graph or by the program; false: no graph's, or not alive. */
bool cuda_graph_free(CUdeviceptr at);

/* The executable graph is destroyed: what it allocated and is not freed yet lives on. */
void cuda_graph_end(struct cuda_graph_memory *self);
