/*
 * Memory behind a pointer. The order is always the same: reserve in the share, ask the driver, and give
 * back when the driver refuses. So what the driver holds is never more than what is reserved.
 */
#include "hook_memory.h"

#include <errno.h>
#include <string.h>

#include "log.h"

/* The driver takes large memory in pages of 2 MiB, and counts small memory by 512 bytes. */
static uint64_t in_pages(uint64_t size) {
    uint64_t page = size >= UINT64_C(1) << 20 ? UINT64_C(2) << 20 : 512;
    return size > UINT64_MAX - page ? size : (size + page - 1) / page * page;
}

bool reserve(card_state state, const budget *card, uint64_t size, charge *taken) {
    if (state == CARD_FREE) return true;
    if (state == CARD_REFUSED) return false;
    int problem = budget_reserve(card, in_pages(size), taken);
    static _Atomic int told;
    if (problem && problem != -ENOMEM && told++ == 0)
        log_error("no memory of %s can be used here: the ledger of its share cannot be used (%s)",
                  card->device, strerror(-problem));
    return problem == 0;
}

CUresult settle(CUresult result, card_state state, const budget *card, charge_kind kind, uint64_t key,
                const charge *taken) {
    if (state != CARD_LIMITED) return result;
    if (result != CUDA_SUCCESS)
        budget_refund(card, taken);
    else if (charges_put(kind, key, card, taken) != 0)
        log_error("out of host memory: an allocation stays charged until the process ends");
    return result;
}

held_charge hold(charge_kind kind, uint64_t key) {
    held_charge held;
    held.found = charges_take(kind, key, &held.card, &held.taken);
    return held;
}

CUresult let_go(CUresult result, held_charge *held, charge_kind kind, uint64_t key) {
    if (!held->found) return result;
    if (result == CUDA_SUCCESS)
        budget_refund(held->card, &held->taken);
    else
        charges_put(kind, key, held->card, &held->taken);
    return result;
}

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t size) {
    ALLOCATE(cuMemAlloc_v2, size, CHARGE_POINTER, *pointer, pointer, size);
}

/* The driver widens each row to a pitch that only it knows; 512 bytes is its widest alignment. */
CUresult cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height,
                            unsigned int element) {
    size_t widest = (width + 511) / 512 * 512;
    ALLOCATE(cuMemAllocPitch_v2, widest * height, CHARGE_POINTER, *pointer, pointer, pitch, width, height,
             element);
}

CUresult cuMemAllocManaged(CUdeviceptr *pointer, size_t size, unsigned int flags) {
    ALLOCATE(cuMemAllocManaged, size, CHARGE_POINTER, *pointer, pointer, size, flags);
}

CUresult cuMemFree_v2(CUdeviceptr pointer) { RELEASE(cuMemFree_v2, CHARGE_POINTER, pointer, pointer); }

CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t size, CUstream stream) {
    ALLOCATE(cuMemAllocAsync, size, CHARGE_POINTER, *pointer, pointer, size, stream);
}

CUresult cuMemAllocAsync_ptsz(CUdeviceptr *pointer, size_t size, CUstream stream) {
    ALLOCATE(cuMemAllocAsync_ptsz, size, CHARGE_POINTER, *pointer, pointer, size, stream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *pointer, size_t size, CUmemoryPool pool, CUstream stream) {
    ALLOCATE(cuMemAllocFromPoolAsync, size, CHARGE_POINTER, *pointer, pointer, size, pool, stream);
}

CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *pointer, size_t size, CUmemoryPool pool, CUstream stream) {
    ALLOCATE(cuMemAllocFromPoolAsync_ptsz, size, CHARGE_POINTER, *pointer, pointer, size, pool, stream);
}

CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream) {
    RELEASE(cuMemFreeAsync, CHARGE_POINTER, pointer, pointer, stream);
}

CUresult cuMemFreeAsync_ptsz(CUdeviceptr pointer, CUstream stream) {
    RELEASE(cuMemFreeAsync_ptsz, CHARGE_POINTER, pointer, pointer, stream);
}
