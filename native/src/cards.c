#include "cards.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "log.h"

static const char *folder = "/run/hami/shares";
static char elsewhere[256]; /* what the environment names, where there is no such folder */
static bool was_there;

static shares_state state;
static pthread_once_t loaded = PTHREAD_ONCE_INIT;

/*
 * Before the program runs, which may change its environment, its root and its mounts: a container's shares
 * hold whatever its environment says, and who had shares at the start is not without limits when they are
 * gone.
 */
__attribute__((constructor)) static void look_for_shares(void) {
    int saved = errno;
    const char *named = getenv("HAMI_SHARES_DIR");
    was_there = access(folder, F_OK) == 0;
    if (!was_there && named && *named) {
        snprintf(elsewhere, sizeof elsewhere, "%s", named);
        folder = elsewhere;
        was_there = access(folder, F_OK) == 0;
    }
    errno = saved;
}

static void load(void) {
    char why[512] = "";
    state = budget_load(folder, why, sizeof why);
    if (state == SHARES_NONE && was_there) {
        state = SHARES_BROKEN;
        snprintf(why, sizeof why, "%s was there when the program began, and is gone", folder);
    }
    log_set_level(budget_log_level());
    if (state == SHARES_BROKEN) log_error("no GPU memory can be used here: %s", why);
    if (state == SHARES_USABLE) pthread_atfork(NULL, NULL, after_fork);
}

bool cards_are_limited(void) {
    pthread_once(&loaded, load);
    return state == SHARES_USABLE;
}

bool cards_are_free(void) {
    pthread_once(&loaded, load);
    return state == SHARES_NONE;
}

card_state card_of_uuid(const char *uuid, budget **card) {
    pthread_once(&loaded, load);
    if (state == SHARES_NONE) return CARD_FREE;
    *card = state == SHARES_USABLE ? budget_of(uuid) : NULL;
    if (*card) return CARD_LIMITED;
    static _Atomic int told;
    if (state == SHARES_USABLE && told++ == 0)
        log_error("this container holds no share of %s, so nothing can be allocated on it", uuid);
    return CARD_REFUSED;
}

static void format_uuid(const CUuuid *uuid, char *into, size_t size) {
    const unsigned char *b = (const unsigned char *)uuid->bytes;
    snprintf(into, size, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

card_state card_of_device(CUdevice device, budget **card) {
    pthread_once(&loaded, load);
    if (state == SHARES_NONE) return CARD_FREE;
    static struct {
        _Atomic int known;
        _Atomic card_state state;
        budget *_Atomic card;
    } cache[64];
    int slot = device >= 0 && device < 64 ? device : -1;
    if (slot >= 0 && cache[slot].known) {
        *card = cache[slot].card;
        return cache[slot].state;
    }
    CUresult (*get_uuid)(CUuuid *, CUdevice) = driver_function("cuDeviceGetUuid_v2");
    if (!get_uuid) get_uuid = driver_function("cuDeviceGetUuid");
    CUuuid uuid;
    char text[64];
    CUresult told = get_uuid ? get_uuid(&uuid, device) : CUDA_ERROR_NOT_FOUND;
    /* Then the driver refuses by itself, with the error that the program expects. */
    if (told == CUDA_ERROR_NOT_INITIALIZED || told == CUDA_ERROR_INVALID_DEVICE) return CARD_FREE;
    if (told != CUDA_SUCCESS) return CARD_REFUSED;
    format_uuid(&uuid, text, sizeof text);
    card_state found = card_of_uuid(text, card);
    if (slot >= 0) {
        cache[slot].card = *card;
        cache[slot].state = found;
        cache[slot].known = 1;
    }
    return found;
}

card_state card_of_context(budget **card) {
    pthread_once(&loaded, load);
    if (state == SHARES_NONE) return CARD_FREE;
    static _Atomic(void *) found;
    CUresult (*get_device)(CUdevice *) = kept_function(&found, "cuCtxGetDevice");
    CUdevice device;
    /* Without a context the driver refuses by itself, with the error that the program expects. */
    if (!get_device || get_device(&device) != CUDA_SUCCESS) return CARD_FREE;
    return card_of_device(device, card);
}
