/* Copies and fills. Host memory stands for device memory, so each is a memmove or memset in stream order. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cuda_core.h"

/* Contents beyond this much of one operation are not kept: filling a simulated card must not fill the
 * machine. */
enum { KEPT = 256 << 20 };

struct copy {
    void *to;
    const void *from; /* NULL: a fill */
    size_t size, element;
    unsigned value;
};

static void fill(char *to, size_t size, unsigned value, size_t element) {
    if (element == 1) {
        memset(to, (int)value, size);
        return;
    }
    for (size_t i = 0; i + element <= size; i += element) memcpy(to + i, &value, element); /* little endian */
}

static void run(void *argument, uint64_t time) {
    (void)time;
    struct copy *c = argument;
    size_t size = c->size < KEPT ? c->size : KEPT;
    if (c->from)
        memmove(c->to, c->from, size);
    else
        fill(c->to, size, c->value, c->element);
}
static void run_once(void *argument, uint64_t time) {
    run(argument, time);
    free(argument);
}

static CUresult queue(struct copy copy, CUstream stream, bool wait) {
    if (copy.size == 0) return CUDA_SUCCESS;
    if (!copy.to || (!copy.from && !copy.element)) return CUDA_ERROR_INVALID_VALUE;
    struct copy *c = malloc(sizeof *c);
    if (!c) return CUDA_ERROR_OUT_OF_MEMORY;
    *c = copy;
    struct sim_work work = {.cost = copy.size / 12, /* 12 GB/s, about PCIe 3 x16, beside what computes */
                            .done = stream->capture ? run : run_once,
                            .argument = c};
    CUresult result = cuda_submit(stream, work);
    if (!wait || stream->capture) return result;
    cuda_stream_wait(stream);
    return cuda_fault(stream->context);
}

#define AT(address) ((void *)(uintptr_t)(address))
#define COPY(name, to_type, from_type)                                                                       \
    static CUresult on_##name(to_type to, from_type from, size_t size, CUstream stream) {                    \
        return queue((struct copy){.to = AT(to), .from = AT(from), .size = size}, stream, true);             \
    }                                                                                                        \
    CUDA_BOTH(name, _ptds, (to_type to, from_type from, size_t size), NULL, to, from, size)
#define COPY_ASYNC(name, to_type, from_type)                                                                 \
    static CUresult on_##name(to_type to, from_type from, size_t size, CUstream stream) {                    \
        return queue((struct copy){.to = AT(to), .from = AT(from), .size = size}, stream, false);            \
    }                                                                                                        \
    CUDA_BOTH(name, _ptsz, (to_type to, from_type from, size_t size, CUstream stream), stream, to, from, size)

COPY(cuMemcpy, CUdeviceptr, CUdeviceptr)
COPY(cuMemcpyHtoD_v2, CUdeviceptr, const void *)
COPY(cuMemcpyDtoH_v2, void *, CUdeviceptr)
COPY(cuMemcpyDtoD_v2, CUdeviceptr, CUdeviceptr)
COPY_ASYNC(cuMemcpyAsync, CUdeviceptr, CUdeviceptr)
COPY_ASYNC(cuMemcpyHtoDAsync_v2, CUdeviceptr, const void *)
COPY_ASYNC(cuMemcpyDtoHAsync_v2, void *, CUdeviceptr)
COPY_ASYNC(cuMemcpyDtoDAsync_v2, CUdeviceptr, CUdeviceptr)

/* Between cards, which every copy can do. */
static CUresult copy_to_peer(CUdeviceptr to, CUcontext to_in, CUdeviceptr from, CUcontext from_in,
                             size_t size, CUstream stream, bool wait) {
    if (!to_in || !from_in) return CUDA_ERROR_INVALID_CONTEXT;
    return queue((struct copy){.to = AT(to), .from = AT(from), .size = size}, stream, wait);
}
#define on_cuMemcpyPeer(...)      copy_to_peer(__VA_ARGS__, true)
#define on_cuMemcpyPeerAsync(...) copy_to_peer(__VA_ARGS__, false)
CUDA_BOTH(cuMemcpyPeer, _ptds,
          (CUdeviceptr to, CUcontext to_in, CUdeviceptr from, CUcontext from_in, size_t size), NULL, to,
          to_in, from, from_in, size)
CUDA_BOTH(cuMemcpyPeerAsync, _ptsz,
          (CUdeviceptr to, CUcontext to_in, CUdeviceptr from, CUcontext from_in, size_t size,
           CUstream stream),
          stream, to, to_in, from, from_in, size)

#define FILL(name, async_name, type)                                                                         \
    static CUresult on_##name(CUdeviceptr to, type value, size_t count, CUstream stream) {                   \
        return queue((struct copy){AT(to), NULL, count * sizeof value, sizeof value, value}, stream, true);  \
    }                                                                                                        \
    CUDA_BOTH(name, _ptds, (CUdeviceptr to, type value, size_t count), NULL, to, value, count)               \
    static CUresult on_##async_name(CUdeviceptr to, type value, size_t count, CUstream stream) {             \
        return queue((struct copy){AT(to), NULL, count * sizeof value, sizeof value, value}, stream, false); \
    }                                                                                                        \
    CUDA_BOTH(async_name, _ptsz, (CUdeviceptr to, type value, size_t count, CUstream stream), stream, to,    \
              value, count)

FILL(cuMemsetD8_v2, cuMemsetD8Async, unsigned char)
FILL(cuMemsetD16_v2, cuMemsetD16Async, unsigned short)
FILL(cuMemsetD32_v2, cuMemsetD32Async, unsigned)
