/* The process: initialization, what a card has left, error names. */
#include "cuda_core.h"

#include <stdlib.h>
#include <string.h>

struct cuda_process cuda = {.slot = -1, .mutex = PTHREAD_MUTEX_INITIALIZER};

CUresult cuda_usable(void) { return cuda.ready && !cuda.forked ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED; }

struct cuda_device *cuda_device(CUdevice device) {
    return device >= 0 && device < cuda.devices ? &cuda.device[device] : NULL;
}

/* HAMI_SIM_FAIL_EVERY=N: every Nth request for memory fails, as on a card that is full for a moment. */
static bool fails_now(void) {
    static _Atomic unsigned long requests;
    const char *every = getenv("HAMI_SIM_FAIL_EVERY");
    unsigned long number = every ? strtoul(every, NULL, 10) : 0;
    return number && ++requests % number == 0;
}

CUresult cuda_take(CUdevice device, uint64_t bytes) {
    if (fails_now()) return CUDA_ERROR_OUT_OF_MEMORY;
    const struct sim_gpu *gpu = cuda.device[device].gpu;
    bool taken = sim_state_allocate(cuda.node->state, cuda.slot, gpu->card, bytes, gpu->memory);
    return taken ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

void cuda_give(CUdevice device, uint64_t bytes) {
    sim_state_free(cuda.node->state, cuda.slot, cuda.device[device].gpu->card, bytes);
}

bool cuda_share(CUdevice device, uint64_t bytes, struct sim_piece *piece) {
    return sim_shared_make(cuda.node->state, cuda.slot, cuda.device[device].gpu->card, bytes, piece);
}

CUdevice cuda_hold(struct sim_piece piece, uint64_t *bytes) {
    int card;
    if (!sim_shared_hold(cuda.node->state, cuda.slot, piece, &card, bytes)) return -1;
    for (CUdevice device = 0; device < cuda.devices; device++)
        if (cuda.device[device].gpu->card == card) return device;
    cuda_let_go(piece);
    return -1;
}

void cuda_let_go(struct sim_piece piece) { sim_shared_let_go(cuda.node->state, cuda.slot, piece); }

static void add_device(struct sim_gpu *gpu) {
    for (int i = 0; i < cuda.devices; i++)
        if (cuda.device[i].gpu == gpu) return;
    cuda.device[cuda.devices++] = (struct cuda_device){.gpu = gpu};
}

/* CUDA_VISIBLE_DEVICES: indexes or (beginnings of) UUIDs; what follows a wrong entry is not visible. */
static void find_devices(struct sim_config *config) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    char copy[1024];
    if (!visible) {
        for (int i = 0; i < config->gpus; i++) add_device(&config->gpu[i]);
        return;
    }
    strncpy(copy, visible, sizeof copy - 1);
    copy[sizeof copy - 1] = '\0';
    for (char *save, *word = strtok_r(copy, ", ", &save); word; word = strtok_r(NULL, ", ", &save)) {
        char *end;
        long index = strtol(word, &end, 10);
        if (*end == '\0' ? index < 0 || index >= config->gpus : strlen(word) < 5) return;
        for (int i = 0; i < config->gpus; i++)
            if (*end == '\0' ? i == index : strncmp(config->gpu[i].uuid, word, strlen(word)) == 0)
                add_device(&config->gpu[i]);
    }
}

static void in_child(void) { cuda.forked = cuda.ready; }

static CUresult initialize(void) {
    cuda.node = sim_node();
    if (!cuda.node) return CUDA_ERROR_SYSTEM_NOT_READY;
    if (cuda.slot < 0) cuda.slot = sim_state_take_slot(cuda.node->state);
    if (cuda.slot < 0) return CUDA_ERROR_OPERATING_SYSTEM;
    find_devices(&cuda.node->config);
    if (cuda.devices == 0) return CUDA_ERROR_NO_DEVICE;
    for (int i = 0; i < cuda.devices; i++) {
        cuda.device[i].engine = sim_engine_new(cuda.node->state, cuda.slot, cuda.device[i].gpu->card);
        if (!cuda.device[i].engine) return CUDA_ERROR_OUT_OF_MEMORY;
    }
    pthread_atfork(NULL, NULL, in_child);
    cuda.ready = true;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuInit(unsigned flags) {
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (cuda.forked) return CUDA_ERROR_NOT_INITIALIZED;
    pthread_mutex_lock(&cuda.mutex);
    CUresult result = cuda.ready ? CUDA_SUCCESS : initialize();
    pthread_mutex_unlock(&cuda.mutex);
    return result;
}

CUDA_API CUresult cuDriverGetVersion(int *version) {
    if (!version) return CUDA_ERROR_INVALID_VALUE;
    struct sim_node *node = sim_node();
    if (!node) return CUDA_ERROR_SYSTEM_NOT_READY;
    *version = (int)node->config.cuda_version;
    return CUDA_SUCCESS;
}

static const struct {
    CUresult error;
    const char *name, *text;
} errors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
#define CUDA_RESULT(id, value, text) {CUDA_##id, "CUDA_" #id, text},
#include "cuda_errors.def"
#undef CUDA_RESULT
};
enum { ERRORS = sizeof errors / sizeof *errors };

CUDA_API CUresult cuGetErrorName(CUresult error, const char **name) {
    if (!name) return CUDA_ERROR_INVALID_VALUE;
    *name = NULL;
    for (int i = 0; i < ERRORS; i++)
        if (errors[i].error == error) *name = errors[i].name;
    return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUDA_API CUresult cuGetErrorString(CUresult error, const char **string) {
    if (!string) return CUDA_ERROR_INVALID_VALUE;
    *string = NULL;
    for (int i = 0; i < ERRORS; i++)
        if (errors[i].error == error) *string = errors[i].text;
    return *string ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
