#include "request.h"

#include "failpoint.h"

uint64_t in_pages(uint64_t size) {
    uint64_t page = size >= UINT64_C(1) << 20 ? UINT64_C(2) << 20 : 512;
    if (WRONG(UNROUNDED)) page = 512;
    return size > UINT64_MAX - page ? size : (size + page - 1) / page * page;
}

request request_in_context(void) {
    budget *card = NULL;
    request self = {.state = card_of_context(&card)};
    self.own.card = card;
    if (self.state != CARD_LIMITED) return self;
    static _Atomic(void *) found;
    CUresult (*get_current)(CUcontext *) = kept_function(&found, "cuCtxGetCurrent");
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
