/*
 * The order is always the same: reserve in the share, ask the driver, and give back when the driver refuses.
 * So what the driver holds is never more than what is reserved.
 */
#include "allocation.h"

#include <errno.h>
#include <string.h>

#include "failpoint.h"
#include "log.h"
#include "physical.h"
#include "pools.h"

static bool any_given_back(void) {
    bool ended = physical_settle();
    return pools_reclaim() || ended;
}

bool ask(request *self, uint64_t size) {
    if (self->state == CARD_FREE || size == 0) return true;
    if (self->state == CARD_REFUSED) return false;
    if (WRONG(CHARGE_AFTER)) return self->own.taken.bytes[0] = in_pages(size), true;
    int problem = budget_reserve(self->own.card, in_pages(size), &self->own.taken);
    /* As the driver does: what pools keep without using it goes before anything is refused. */
    if (problem == -ENOMEM && any_given_back())
        problem = budget_reserve(self->own.card, in_pages(size), &self->own.taken);
    static _Atomic int told;
    if (problem && problem != -ENOMEM && told++ == 0)
        log_error("no memory of %s can be used here: the ledger of its share cannot be used (%s)",
                  self->own.card->device, strerror(-problem));
    return problem == 0;
}

CUresult settle(request *self, CUresult result, charge_kind kind, uint64_t key) {
    if (self->state != CARD_LIMITED) return result;
    if (WRONG(CHARGE_AFTER) && result == CUDA_SUCCESS) {
        if (budget_reserve(self->own.card, self->own.taken.bytes[0], &self->own.taken) != 0) {
            CUresult (*undo)(CUdeviceptr) = driver_function("cuMemFree_v2");
            undo(key);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    if (charge_bytes(&self->own.taken) == 0) return result;
    if (result != CUDA_SUCCESS && !WRONG(KEEP_REFUSED))
        budget_refund(self->own.card, &self->own.taken);
    else if (result == CUDA_SUCCESS && charges_put(kind, key, &self->own) != 0)
        log_error("out of host memory: an allocation stays charged until the process ends");
    return result;
}

held_charge hold(charge_kind kind, uint64_t key) {
    held_charge held = {0};
    held.found = charges_take(kind, key, &held.what);
    return held;
}

CUresult let_go(CUresult result, held_charge *held, charge_kind kind, uint64_t key) {
    if (!held->found) return result;
    if (result != CUDA_SUCCESS)
        charges_put(kind, key, &held->what);
    else
        for (int i = 0; i <= WRONG(REFUND_TWICE); i++) budget_refund(held->what.card, &held->what.taken);
    return result;
}

void wait_for(CUstream stream) {
    CUresult (*wait)(CUstream) = driver_function("cuStreamSynchronize");
    if (wait) wait(stream);
}
