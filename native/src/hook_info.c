/* What CUDA tells a program about memory: its share is the card, what the share has left is free. */
#include "cards.h"

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

CUresult cuMemGetInfo_v2(size_t *available, size_t *total) {
    cuMemGetInfo_v2_type real = REAL(cuMemGetInfo_v2);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(available, total);
    budget *card = NULL;
    if (result != CUDA_SUCCESS || card_of_context(&card) != CARD_LIMITED) return result;
    uint64_t limit = least(budget_limit(card), *total), used = budget_usage(card);
    *available = least(*available, limit - least(used, limit));
    *total = limit;
    return result;
}

CUresult cuDeviceTotalMem_v2(size_t *size, CUdevice device) {
    cuDeviceTotalMem_v2_type real = REAL(cuDeviceTotalMem_v2);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(size, device);
    budget *card = NULL;
    if (result == CUDA_SUCCESS && card_of_device(device, &card) == CARD_LIMITED)
        *size = least(budget_limit(card), *size);
    return result;
}

/* The interface before CUDA 3.2 has no room for more than 4 GiB. */
static unsigned int in_32_bits(uint64_t size) { return size > UINT32_MAX ? UINT32_MAX : (unsigned int)size; }

CUresult cuMemGetInfo(unsigned int *available, unsigned int *total) {
    cuMemGetInfo_type real = REAL(cuMemGetInfo);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(available, total);
    budget *card = NULL;
    if (result != CUDA_SUCCESS || card_of_context(&card) != CARD_LIMITED) return result;
    uint64_t limit = budget_limit(card), used = budget_usage(card);
    *total = in_32_bits(least(*total, limit));
    *available = in_32_bits(least(*available, limit - least(used, limit)));
    return result;
}

CUresult cuDeviceTotalMem(unsigned int *size, CUdevice device) {
    cuDeviceTotalMem_type real = REAL(cuDeviceTotalMem);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(size, device);
    budget *card = NULL;
    if (result == CUDA_SUCCESS && card_of_device(device, &card) == CARD_LIMITED)
        *size = in_32_bits(least(budget_limit(card), *size));
    return result;
}
