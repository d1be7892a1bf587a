/* The keys of the YAML file: name, type and place of each. */
#pragma once

#include "config.h"

enum sim_kind {
    SIM_TEXT,
    SIM_UINT,
    SIM_INT,
    SIM_MEBIBYTES,
    SIM_BOOL,
    SIM_CAPABILITY,
    SIM_CUDA_VERSION,
    SIM_BUS_ID,
    SIM_UUID
};

struct sim_field {
    const char *key;
    enum sim_kind kind;
    size_t offset, size; /* of the member; size matters for text */
    bool required;
};

extern const struct sim_field sim_top_fields[], sim_gpu_fields[]; /* both end with a NULL key */

/* Stores `text` into the member of `base`. Returns NULL, or what is wrong and how to fix it. */
const char *sim_field_set(const struct sim_field *field, void *base, const char *text);
