/*
 * The driver takes memory for each context (code, stacks, heaps), which must come out of the share. How much
 * is known only afterwards. The first context of a share is measured and its cost kept in the ledger; every
 * later one reserves that much first, so a share that is full refuses a context as a full card does.
 */
#include "contexts.h"

#include "allocation.h"
#include "failpoint.h"
#include "hook_host.h"
#include "lock.h"
#include "physical.h"
#include "pools.h"

/* When nothing can be measured. */
static const uint64_t USUAL_CONTEXT_BYTES = UINT64_C(256) << 20;

static lock one_at_a_time = NEW_LOCK;

void contexts_lock(void) { lock_take(&one_at_a_time); }
void contexts_unlock(void) { lock_release(&one_at_a_time); }

bool context_begin(opening *self, CUdevice device) {
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

bool context_measured(opening *self) {
    charged *own = &self->asked.own;
    if (self->asked.state != CARD_LIMITED || budget_context_bytes(own->card) || WRONG(FREE_CONTEXT))
        return true;
    uint64_t price = grown(self->before, nvml_used_bytes(own->card->device));
    /* Others have allocated meanwhile: no context takes so much. */
    if (price > 4 * USUAL_CONTEXT_BYTES) return true;
    uint64_t held = charge_bytes(&own->taken);
    if (price > held && budget_extend(own->card, &own->taken, price - held) != 0) return false;
    budget_shrink(own->card, &own->taken, price);
    budget_learn_context(own->card, price);
    return true;
}

bool context_call_succeeded(CUresult result) {
    bool of_work = result >= CUDA_ERROR_ILLEGAL_ADDRESS && result <= CUDA_ERROR_LAUNCH_FAILED;
    return result == CUDA_SUCCESS || of_work || result == CUDA_ERROR_ECC_UNCORRECTABLE ||
           result == CUDA_ERROR_UNKNOWN;
}

static void give_back(uint64_t key, const charged *what) {
    budget_refund(what->card, &what->taken);
    if (what->holder) physical_released(key, physical_use(key));
}

void context_ended(uint64_t owner) {
    charges_end(owner, give_back);
    host_ended(owner);
    pools_settle();
}

void contexts_forked(void) { lock_reset(&one_at_a_time); }
