/* What CUDA tells a program about memory: its share is the card, what the share has left is free. */
#include "cards.h"

/* No more than MOST, where the program asked for it: OptiX, for one, asks for the whole alone. */
#define LOWER(place, most)                                                                                   \
    do {                                                                                                     \
        if (place) *(place) = (__typeof__(*(place)))least(*(place), most);                                   \
    } while (0)

/* Before CUDA 3.2 numbers had 32 bits. */
#define MEMORY(symbol, number)                                                                               \
    CUresult symbol(number *available, number *total) {                                                      \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        CUresult result = real(available, total);                                                            \
        budget *card = NULL;                                                                                 \
        if (result != CUDA_SUCCESS || card_of_context(&card) != CARD_LIMITED) return result;                 \
        uint64_t limit = budget_limit(card), used = budget_usage(card);                                      \
        LOWER(available, limit - least(used, limit));                                                        \
        LOWER(total, limit);                                                                                 \
        return result;                                                                                       \
    }
MEMORY(cuMemGetInfo_v2, size_t)
MEMORY(cuMemGetInfo, unsigned int)

#define TOTAL(symbol, number)                                                                                \
    CUresult symbol(number *size, CUdevice device) {                                                         \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        CUresult result = real(size, device);                                                                \
        budget *card = NULL;                                                                                 \
        if (result == CUDA_SUCCESS && card_of_device(device, &card) == CARD_LIMITED)                         \
            LOWER(size, budget_limit(card));                                                                 \
        return result;                                                                                       \
    }
TOTAL(cuDeviceTotalMem_v2, size_t)
TOTAL(cuDeviceTotalMem, unsigned int)
