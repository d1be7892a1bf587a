#include "lanes.h"

#include <string.h>

#include "hooks.h"

lane lanes[MOST_LANES];
pthread_mutex_t lanes_mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_mutex_t lanes_looking = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t lanes_work = PTHREAD_COND_INITIALIZER;
_Atomic int lanes_running;
_Atomic bool lanes_over;

lane_calls lane_driver;
static bool driver_usable;

static void find_driver(void) {
    driver_usable = true;
#define CALL(name, parameters)                                                                               \
    driver_usable = (lane_driver.name = driver_function(#name)) != NULL && driver_usable;
    LANE_CALLS(CALL)
#undef CALL
}

bool lanes_usable(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_driver);
    return driver_usable;
}

CUstreamCaptureMode lanes_relax(CUstreamCaptureMode mode) {
    lane_driver.cuThreadExchangeStreamCaptureMode(&mode);
    return mode;
}

/* No context's, nor anybody's who has begun to launch in one that ended meanwhile. */
static bool is_free(const lane *self) {
    bool begun = false;
    for (const bracket *each = self->brackets; each < self->brackets + MOST_BRACKETS; each++)
        begun |= atomic_load(&each->state) != FREE;
    return !self->context && !begun;
}

static lane *lane_of(CUcontext context, meter *of) {
    lane *found = NULL;
    for (lane *each = lanes; each < lanes + MOST_LANES; each++) {
        if (each->context == context) return each;
        if (!found && is_free(each)) found = each;
    }
    if (!found) return NULL;
    memset(found, 0, sizeof *found);
    found->context = context, found->meter = of;
    found->base_at = found->covered = LANE_SOMEWHERE_NS;
    return found;
}

static bracket *free_bracket(lane *in) {
    for (bracket *each = in->brackets; each < in->brackets + MOST_BRACKETS; each++) {
        if (atomic_load(&each->state) != FREE) continue;
        atomic_store(&each->state, BEGUN);
        each->lane = in;
        return each;
    }
    return NULL;
}

bracket *lanes_take_bracket(meter *of) {
    CUcontext context = NULL;
    if (lane_driver.cuCtxGetCurrent(&context) != CUDA_SUCCESS || !context) return NULL;
    pthread_mutex_lock(&lanes_mutex);
    lane *in = lane_of(context, of);
    bracket *taken = in && !in->closing ? free_bracket(in) : NULL;
    pthread_mutex_unlock(&lanes_mutex);
    return taken;
}
