/*
 * Contexts: the driver takes memory for each (code, stacks, heaps), which must come out of the share. How
 * much is known only afterwards. The first context of a share is measured and its cost kept in the ledger;
 * every later one reserves that much first, so a share that is full refuses a context as a full card does.
 */
#include "hook_context.h"

#include <pthread.h>
#include <stdlib.h>

#include "allocation.h"
#include "device_time.h"
#include "failpoint.h"
#include "hook_host.h"
#include "nvml_probe.h"
#include "physical.h"
#include "pools.h"

/* When nothing can be measured. */
static const uint64_t USUAL_CONTEXT_BYTES = UINT64_C(256) << 20;

typedef struct {
    request asked;
    nvml_used before; /* by the driver's word, when the cost is not known yet */
} opening;

/* Contexts are opened and ended one at a time in a process, so that a difference belongs to one of them. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* Reserve what a context is known to cost; false when it does not fit. */
static bool begin(opening *self, CUdevice device) {
    *self = (opening){.asked = request_on(device)};
    if (self->asked.state != CARD_LIMITED) return self->asked.state == CARD_FREE;
    uint64_t known = budget_context_bytes(self->asked.own.card);
    if (!known) self->before = nvml_used_bytes(self->asked.own.card->device);
    return WRONG(FREE_CONTEXT) || ask(&self->asked, known ? known : USUAL_CONTEXT_BYTES);
}

/* One figure at both moments: the card's has the driver's own memory in it, the process's has not. */
static uint64_t grown(nvml_used before, nvml_used after) {
    if (after.process > before.process) return after.process - before.process;
    return after.card > before.card ? after.card - before.card : USUAL_CONTEXT_BYTES;
}

/* The first context of a share tells what one costs; false when that is more than the share has left. */
static bool measured(opening *self) {
    charged *own = &self->asked.own;
    if (self->asked.state != CARD_LIMITED || budget_context_bytes(own->card) || WRONG(FREE_CONTEXT))
        return true;
    uint64_t price = grown(self->before, nvml_used_bytes(own->card->device));
    if (price > 4 * USUAL_CONTEXT_BYTES) return true; /* others have allocated meanwhile */
    uint64_t held = charge_bytes(&own->taken);
    if (price > held && budget_extend(own->card, &own->taken, price - held) != 0) return false;
    budget_shrink(own->card, &own->taken, price);
    budget_learn_context(own->card, price);
    return true;
}

static bool primary_is_active(CUdevice device) {
    CUresult (*get_state)(CUdevice, unsigned int *, int *) = driver_function("cuDevicePrimaryCtxGetState");
    unsigned int flags;
    int active = 0;
    return get_state && get_state(device, &flags, &active) == CUDA_SUCCESS && active;
}

static void release_primary(CUdevice device) {
    CUresult (*release)(CUdevice) = driver_function("cuDevicePrimaryCtxRelease_v2");
    if (release) release(device);
}

/* Contexts that use a primary one's memory: it, and green ones, which keep it open. */
typedef struct user {
    CUdevice device;
    CUcontext context;
    CUgreenCtx green; /* NULL: the primary one itself */
    struct user *next;
} user;
static user *users; /* guarded by one_at_a_time */

static user **place_of(CUdevice device, CUgreenCtx green) {
    user **at = &users;
    while (*at && !((*at)->device == device && (*at)->green == green)) at = &(*at)->next;
    return at;
}

static void add_user(CUdevice device, CUcontext context, CUgreenCtx green) {
    if (*place_of(device, green)) return;
    user *added = malloc(sizeof *added);
    if (!added) return;
    *added = (user){device, context, green, users};
    users = added;
}

static void forget(user **at) {
    user *gone = *at;
    *at = gone->next;
    free(gone);
}

/* Give back all that ended with a context. */
static void owner_ended(uint64_t owner) {
    uint64_t key;
    charged what;
    while (charges_take_owned(owner, &key, &what)) {
        budget_refund(what.card, &what.taken);
        if (what.holder) physical_let_go(physical_hold(key));
    }
    host_ended(owner);
    pools_settle();
}

/* What was allocated in any of them ends with the primary one. */
static void primary_ended(CUdevice device) {
    held_charge held = hold(CHARGE_PRIMARY, (uint64_t)device);
    let_go(CUDA_SUCCESS, &held, CHARGE_PRIMARY, (uint64_t)device);
    for (user **at = &users; *at;) {
        if ((*at)->device == device) {
            owner_ended((uint64_t)(*at)->context);
            forget(at);
        } else {
            at = &(*at)->next;
        }
    }
}

/* Of a call that opens the primary context when nobody has yet. */
static bool begin_primary(opening *self, CUdevice device) {
    *self = (opening){.asked.state = CARD_FREE};
    return primary_is_active(device) || begin(self, device);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    cuDevicePrimaryCtxRetain_type real = REAL(cuDevicePrimaryCtxRetain);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    opening self;
    pthread_mutex_lock(&one_at_a_time);
    if (begin_primary(&self, device)) {
        result = real(context, device);
        if (result == CUDA_SUCCESS && !measured(&self)) {
            release_primary(device);
            result = CUDA_ERROR_OUT_OF_MEMORY;
        }
        settle(&self.asked, result, CHARGE_PRIMARY, (uint64_t)device);
        if (result == CUDA_SUCCESS) add_user(device, *context, NULL);
    }
    pthread_mutex_unlock(&one_at_a_time);
    return result;
}

static void add_green(CUdevice device, CUgreenCtx green) {
    CUresult (*retain)(CUcontext *, CUdevice) = driver_function("cuDevicePrimaryCtxRetain");
    CUresult (*from_green)(CUcontext *, CUgreenCtx) = driver_function("cuCtxFromGreenCtx");
    CUcontext context;
    if (from_green && from_green(&context, green) == CUDA_SUCCESS) add_user(device, context, green);
    if (!retain || retain(&context, device) != CUDA_SUCCESS) return;
    add_user(device, context, NULL);
    release_primary(device);
}

CUresult cuGreenCtxCreate(CUgreenCtx *context, CUdevResourceDesc resources, CUdevice device,
                          unsigned int flags) {
    cuGreenCtxCreate_type real = REAL(cuGreenCtxCreate);
    CUresult (*undo)(CUgreenCtx) = driver_function("cuGreenCtxDestroy");
    if (!real || !undo) return CUDA_ERROR_NOT_FOUND;
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    opening self;
    pthread_mutex_lock(&one_at_a_time);
    if (begin_primary(&self, device)) {
        result = real(context, resources, device, flags);
        if (result == CUDA_SUCCESS && !measured(&self)) {
            undo(*context);
            result = CUDA_ERROR_OUT_OF_MEMORY;
        }
        settle(&self.asked, result, CHARGE_PRIMARY, (uint64_t)device);
        if (result == CUDA_SUCCESS) add_green(device, *context);
    }
    pthread_mutex_unlock(&one_at_a_time);
    return result;
}

/* After a call that may have ended the primary context: its memory goes back when its last user has let go.
 */
static CUresult left_primary(CUresult result, CUdevice device) {
    bool ended = result == CUDA_SUCCESS && !primary_is_active(device);
    device_time_closed(NULL, device, ended);
    if (ended) primary_ended(device);
    return result;
}

/* The events that we measure with end with the context, so they are left alone meanwhile. */
#define LEAVE_PRIMARY(symbol)                                                                                \
    CUresult symbol(CUdevice device) {                                                                       \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        pthread_mutex_lock(&one_at_a_time);                                                                  \
        device_time_closing(NULL, device);                                                                   \
        CUresult result = left_primary(real(device), device);                                                \
        pthread_mutex_unlock(&one_at_a_time);                                                                \
        return result;                                                                                       \
    }
LEAVE_PRIMARY(cuDevicePrimaryCtxRelease_v2)
LEAVE_PRIMARY(cuDevicePrimaryCtxReset_v2)
LEAVE_PRIMARY(cuDevicePrimaryCtxRelease)
LEAVE_PRIMARY(cuDevicePrimaryCtxReset)

static CUdevice device_of_green(CUgreenCtx green) {
    const user *each = users;
    while (each && each->green != green) each = each->next;
    return each ? each->device : -1;
}

/* What was allocated in a green context outlives it, and its handle may be given out again. */
static void green_ended(CUdevice device, CUgreenCtx green) {
    user **gone = place_of(device, green);
    const user *primary = *place_of(device, NULL);
    if (!*gone) return;
    charges_hand_over((uint64_t)(*gone)->context, primary ? (uint64_t)primary->context : 0);
    forget(gone);
}

CUresult cuGreenCtxDestroy(CUgreenCtx context) {
    cuGreenCtxDestroy_type real = REAL(cuGreenCtxDestroy);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    pthread_mutex_lock(&one_at_a_time);
    CUdevice device = device_of_green(context);
    device_time_closing(NULL, device);
    CUresult result = left_primary(real(context), device);
    if (result == CUDA_SUCCESS) green_ended(device, context);
    pthread_mutex_unlock(&one_at_a_time);
    return result;
}

static CUresult opened(opening *self, CUresult result, CUcontext *context) {
    if (result == CUDA_SUCCESS && !measured(self)) {
        CUresult (*undo)(CUcontext) = driver_function("cuCtxDestroy_v2");
        if (undo) undo(*context);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    return settle(&self->asked, result, CHARGE_CONTEXT, result == CUDA_SUCCESS ? (uint64_t)*context : 0);
}

/* Body of the versions of cuCtxCreate, which differ in what they pass on. */
#define OPEN(symbol, ...)                                                                                    \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        opening self;                                                                                        \
        CUresult result = CUDA_ERROR_OUT_OF_MEMORY;                                                          \
        pthread_mutex_lock(&one_at_a_time);                                                                  \
        if (begin(&self, device)) {                                                                          \
            result = opened(&self, real(__VA_ARGS__), context);                                              \
        }                                                                                                    \
        pthread_mutex_unlock(&one_at_a_time);                                                                \
        return result;                                                                                       \
    } while (0)

CUresult cuCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device) {
    OPEN(cuCtxCreate_v2, context, flags, device);
}

CUresult cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *affinity, int affinities, unsigned int flags,
                        CUdevice device) {
    OPEN(cuCtxCreate_v3, context, affinity, affinities, flags, device);
}

CUresult cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *parameters, unsigned int flags,
                        CUdevice device) {
    OPEN(cuCtxCreate_v4, context, parameters, flags, device);
}

CUresult cuCtxCreate(CUcontext *context, unsigned int flags, CUdevice device) {
    OPEN(cuCtxCreate, context, flags, device);
}

CUresult cuGLCtxCreate(CUcontext *context, unsigned int flags, CUdevice device) {
    OPEN(cuGLCtxCreate, context, flags, device);
}

CUresult cuGLCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device) {
    OPEN(cuGLCtxCreate_v2, context, flags, device);
}

CUresult cuVDPAUCtxCreate(CUcontext *context, unsigned int flags, CUdevice device, unsigned int video,
                          void *get_function) {
    OPEN(cuVDPAUCtxCreate, context, flags, device, video, get_function);
}

CUresult cuVDPAUCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device, unsigned int video,
                             void *get_function) {
    OPEN(cuVDPAUCtxCreate_v2, context, flags, device, video, get_function);
}

static CUresult destroy(int hook, CUcontext context) {
    cuCtxDestroy_v2_type real = (cuCtxDestroy_v2_type)real_function(hook);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    pthread_mutex_lock(&one_at_a_time); /* nobody gets its handle before all that it owned is given back */
    held_charge held = hold(CHARGE_CONTEXT, (uint64_t)context);
    device_time_closing(context, 0);
    CUresult result = let_go(real(context), &held, CHARGE_CONTEXT, (uint64_t)context);
    device_time_closed(context, 0, result == CUDA_SUCCESS);
    if (result == CUDA_SUCCESS) owner_ended((uint64_t)context);
    pthread_mutex_unlock(&one_at_a_time);
    return result;
}

CUresult cuCtxDestroy_v2(CUcontext context) { return destroy(HOOK_cuCtxDestroy_v2, context); }
CUresult cuCtxDestroy(CUcontext context) { return destroy(HOOK_cuCtxDestroy, context); }

void contexts_forked(void) {
    pthread_mutex_init(&one_at_a_time, NULL);
    users = NULL; /* CUDA does not work in the child of a process that used it */
}
