/*
 * Memory behind a pointer. The order is always the same: reserve in the share, ask the driver, and give
 * back when the driver refuses. So what the driver holds is never more than what is reserved.
 */
#include "hook_memory.h"

#include <errno.h>
#include <string.h>

#include "failpoint.h"
#include "hook_host.h"
#include "log.h"
#include "physical.h"
#include "pools.h"

uint64_t in_pages(uint64_t size) {
    uint64_t page = size >= UINT64_C(1) << 20 ? UINT64_C(2) << 20 : 512;
    if (WRONG(UNROUNDED)) page = 512;
    return size > UINT64_MAX - page ? size : (size + page - 1) / page * page;
}

uint64_t times(uint64_t a, uint64_t b) {
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

request request_in_context(void) {
    budget *card = NULL;
    request self = {.state = card_of_context(&card)};
    self.own.card = card;
    static CUresult (*get_current)(CUcontext *);
    if (self.state != CARD_LIMITED) return self;
    if (!get_current) get_current = driver_function("cuCtxGetCurrent");
    CUcontext context = NULL;
    if (get_current && get_current(&context) == CUDA_SUCCESS) self.own.owner = (uint64_t)context;
    return self;
}

request request_on(CUdevice device) {
    budget *card = NULL;
    request self = {.state = card_of_device(device, &card)};
    self.own.card = card;
    return self;
}

CUdevice device_at(const CUmemLocation *location) {
    if (location && location->type == CU_MEM_LOCATION_TYPE_DEVICE) return location->id;
    /* A part of a card's memory (CUDA 13.5): the lowest byte is the card. */
    if (location && location->type == CU_MEM_LOCATION_TYPE_DEVICE_LOCALITY_DOMAIN) return location->id & 0xff;
    return -1;
}

request request_at(const CUmemLocation *location) {
    CUdevice device = device_at(location);
    return device >= 0 ? request_on(device) : (request){.state = CARD_FREE};
}

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
    held_charge held;
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

void owner_ended(uint64_t owner) {
    uint64_t key;
    charged what;
    while (charges_take_owned(owner, &key, &what)) {
        budget_refund(what.card, &what.taken);
        if (what.holder) physical_let_go(physical_hold(key));
    }
    host_ended(owner);
    pools_settle();
}

static CUresult allocate(CUdeviceptr *pointer, size_t size) {
    ALLOCATE(cuMemAlloc_v2, size, CHARGE_POINTER, pointer, pointer, size);
}

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t size) {
    CUresult result = allocate(pointer, size);
    return result == CUDA_ERROR_OUT_OF_MEMORY ? host_serve(result, pointer, size) : result;
}

/* The driver widens each row to a pitch that only it knows; 512 bytes is its widest alignment. */
static uint64_t widest(size_t width) { return width > SIZE_MAX - 511 ? SIZE_MAX : (width + 511) / 512 * 512; }

static CUresult allocate_pitched(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height,
                                 unsigned int element) {
    ALLOCATE(cuMemAllocPitch_v2, times(widest(width), height), CHARGE_POINTER, pointer, pointer, pitch, width,
             height, element);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height,
                            unsigned int element) {
    CUresult result = allocate_pitched(pointer, pitch, width, height, element);
    if (result != CUDA_ERROR_OUT_OF_MEMORY || !pitch) return result;
    result = host_serve(result, pointer, times(widest(width), height));
    if (result == CUDA_SUCCESS) *pitch = widest(width);
    return result;
}

static CUresult allocate_managed(CUdeviceptr *pointer, size_t size, unsigned int flags) {
    ALLOCATE(cuMemAllocManaged, size, CHARGE_POINTER, pointer, pointer, size, flags);
}

CUresult cuMemAllocManaged(CUdeviceptr *pointer, size_t size, unsigned int flags) {
    CUresult result = allocate_managed(pointer, size, flags);
    return result == CUDA_ERROR_OUT_OF_MEMORY ? host_serve(result, pointer, size) : result;
}

CUresult cuMemFree_v2(CUdeviceptr pointer) {
    cuMemFree_v2_type real = REAL(cuMemFree_v2);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    held_charge held = hold(CHARGE_POINTER, pointer);
    bool other = !held.found && !host_served(pointer);
    CUresult result = let_go(real(pointer), &held, CHARGE_POINTER, pointer);
    if (other && result == CUDA_SUCCESS) pools_freed();
    return result;
}

/* The interface before CUDA 3.2, with 32-bit addresses, which drivers still export. */
CUresult cuMemAlloc(CUdeviceptr_v1 *pointer, unsigned int size) {
    ALLOCATE(cuMemAlloc, size, CHARGE_POINTER, pointer, pointer, size);
}

CUresult cuMemAllocPitch(CUdeviceptr_v1 *pointer, unsigned int *pitch, unsigned int width,
                         unsigned int height, unsigned int element) {
    ALLOCATE(cuMemAllocPitch, times(widest(width), height), CHARGE_POINTER, pointer, pointer, pitch, width,
             height, element);
}

CUresult cuMemFree(CUdeviceptr_v1 pointer) { RELEASE(cuMemFree, CHARGE_POINTER, pointer, pointer); }
