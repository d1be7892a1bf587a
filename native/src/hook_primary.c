/*
 * Primary contexts, and green ones, which use a primary one's memory and keep it open: what was allocated in
 * any of them ends with the primary one.
 */
#include "hook_primary.h"

#include <stdlib.h>

#include "allocation.h"
#include "contexts.h"
#include "device_time.h"

/* By the driver's word; without one neither is so. */
static bool primary_is(CUdevice device, bool active) {
    CUresult (*get_state)(CUdevice, unsigned int *, int *) = driver_function("cuDevicePrimaryCtxGetState");
    unsigned int flags;
    int state;
    return get_state && get_state(device, &flags, &state) == CUDA_SUCCESS && (state != 0) == active;
}

static void release_primary(CUdevice device) {
    CUresult (*release)(CUdevice) = driver_function("cuDevicePrimaryCtxRelease_v2");
    if (release) release(device);
}

typedef struct user {
    CUdevice device;
    CUcontext context;
    CUgreenCtx green; /* NULL: the primary one itself */
    struct user *next;
} user;
static user *users; /* of primary contexts' memory; under the lock of all contexts */

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

static void primary_ended(CUdevice device) {
    held_charge held = hold(CHARGE_PRIMARY, (uint64_t)device);
    let_go(CUDA_SUCCESS, &held, CHARGE_PRIMARY, (uint64_t)device);
    for (user **at = &users; *at;) {
        if ((*at)->device == device) {
            context_ended((uint64_t)(*at)->context);
            forget(at);
        } else {
            at = &(*at)->next;
        }
    }
}

/* Of a call that opens the primary context when nobody has yet. */
static bool begin_primary(opening *self, CUdevice device) {
    *self = (opening){.asked.state = CARD_FREE};
    return primary_is(device, true) || context_begin(self, device);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    cuDevicePrimaryCtxRetain_type real = REAL(cuDevicePrimaryCtxRetain);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    opening self;
    contexts_lock();
    if (begin_primary(&self, device)) {
        result = real(context, device);
        if (result == CUDA_SUCCESS && !context_measured(&self)) {
            release_primary(device);
            result = CUDA_ERROR_OUT_OF_MEMORY;
        }
        settle(&self.asked, result, CHARGE_PRIMARY, (uint64_t)device);
        if (result == CUDA_SUCCESS) add_user(device, *context, NULL);
    }
    contexts_unlock();
    return result;
}

/* Somebody else may have opened it. */
static void add_primary(CUdevice device) {
    CUresult (*retain)(CUcontext *, CUdevice) = driver_function("cuDevicePrimaryCtxRetain");
    CUcontext context;
    if (!retain || retain(&context, device) != CUDA_SUCCESS) return;
    add_user(device, context, NULL);
    release_primary(device);
}

static void add_green(CUdevice device, CUgreenCtx green) {
    CUresult (*from_green)(CUcontext *, CUgreenCtx) = driver_function("cuCtxFromGreenCtx");
    CUcontext context;
    if (from_green && from_green(&context, green) == CUDA_SUCCESS) add_user(device, context, green);
    add_primary(device);
}

/* Before a call that may end the primary context, and with it the events that we measure with. */
static void leaving_primary(CUdevice device) {
    if (!*place_of(device, NULL) && primary_is(device, true)) add_primary(device);
    for (const user *each = users; each; each = each->next)
        if (each->device == device) device_time_closing(each->context);
}

/* After it: its memory goes back when its last user has let go. */
static void left_primary(CUdevice device) {
    bool ended = primary_is(device, false);
    for (const user *each = users; each; each = each->next)
        if (each->device == device) device_time_closed(each->context, ended);
    if (ended) primary_ended(device);
}

#define LEAVE_PRIMARY(symbol)                                                                                \
    CUresult symbol(CUdevice device) {                                                                       \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        contexts_lock();                                                                                     \
        leaving_primary(device);                                                                             \
        CUresult result = real(device);                                                                      \
        left_primary(device);                                                                                \
        contexts_unlock();                                                                                   \
        return result;                                                                                       \
    }
LEAVE_PRIMARY(cuDevicePrimaryCtxRelease_v2)
LEAVE_PRIMARY(cuDevicePrimaryCtxReset_v2)
LEAVE_PRIMARY(cuDevicePrimaryCtxRelease)
LEAVE_PRIMARY(cuDevicePrimaryCtxReset)

CUresult cuGreenCtxCreate(CUgreenCtx *context, CUdevResourceDesc resources, CUdevice device,
                          unsigned int flags) {
    cuGreenCtxCreate_type real = REAL(cuGreenCtxCreate);
    CUresult (*undo)(CUgreenCtx) = driver_function("cuGreenCtxDestroy");
    if (!real || !undo) return CUDA_ERROR_NOT_FOUND;
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    opening self;
    contexts_lock();
    if (begin_primary(&self, device)) {
        result = real(context, resources, device, flags);
        if (result == CUDA_SUCCESS && !context_measured(&self)) {
            undo(*context);
            result = CUDA_ERROR_OUT_OF_MEMORY;
        }
        settle(&self.asked, result, CHARGE_PRIMARY, (uint64_t)device);
        if (result == CUDA_SUCCESS) add_green(device, *context);
    }
    contexts_unlock();
    return result;
}

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
    device_time_closed((*gone)->context, true);
    charges_hand_over((uint64_t)(*gone)->context, primary ? (uint64_t)primary->context : 0);
    forget(gone);
}

CUresult cuGreenCtxDestroy(CUgreenCtx context) {
    cuGreenCtxDestroy_type real = REAL(cuGreenCtxDestroy);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    contexts_lock();
    CUdevice device = device_of_green(context);
    leaving_primary(device);
    CUresult result = real(context);
    if (context_call_succeeded(result)) green_ended(device, context);
    left_primary(device);
    contexts_unlock();
    return result;
}

void primaries_forked(void) { users = NULL; /* CUDA does not work in the child of a process that used it */ }
