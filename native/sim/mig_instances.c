#include "mig_instances.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "mig_parts.h"

static struct sim_gpu instances[SIM_MAX_GPUS][MIG_MOST_PARTS];
static int counts[SIM_MAX_GPUS]; /* of those that the file says */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void split_card(const struct sim_gpu *gpu, int at) {
    char profiles[sizeof gpu->mig], *rest = profiles;
    strcpy(profiles, gpu->mig); /* as large */
    for (char *profile; (profile = strsep(&rest, " ,")) != NULL && counts[at] < MIG_MOST_PARTS;) {
        unsigned slices, gibibytes;
        if (sscanf(profile, "%ug.%ugb", &slices, &gibibytes) != 2) continue;
        struct sim_gpu *instance = &instances[at][counts[at]++];
        *instance = *gpu;
        instance->memory = gibibytes * (SIM_MIB << 10);
        snprintf(instance->product, sizeof instance->product, "%.60s MIG %.24s", gpu->product, profile);
        snprintf(instance->uuid, sizeof instance->uuid, "MIG-%.34s%02x", gpu->uuid + 4, counts[at]);
    }
}

static void split_all(void) {
    struct sim_node *node = sim_node();
    for (int i = 0; node && i < node->config.gpus; i++) split_card(&node->config.gpu[i], i);
}

/* Whether there is an instance in that place now; what was made at run time is filled in. */
static bool present(int card, int slot) {
    struct sim_node *node = sim_node();
    struct mig_part here;
    if (!node || card >= node->config.gpus) return false;
    pthread_once(&once, split_all);
    if (counts[card] > 0) return slot < counts[card];
    const struct sim_gpu *gpu = &node->config.gpu[card];
    if (!gpu->mig[0] || !mig_part_at(gpu, slot, &here) || !here.compute) return false;
    struct sim_gpu made = *gpu;
    char profile[24];
    mig_profile_name(gpu, here.profile, profile);
    made.memory = mig_profile_memory(gpu, here.profile);
    snprintf(made.product, sizeof made.product, "%.60s MIG %.24s", gpu->product, profile);
    snprintf(made.uuid, sizeof made.uuid, "MIG-%.32s%02x%02x", gpu->uuid + 4, (unsigned)slot, here.serial);
    instances[card][slot] = made;
    return true;
}

int mig_card_of(const struct sim_gpu *gpu, unsigned *id) {
    for (int card = 0; card < SIM_MAX_GPUS; card++)
        if (gpu >= instances[card] && gpu < instances[card] + MIG_MOST_PARTS) {
            *id = (unsigned)(gpu - instances[card]) + 1;
            return present(card, (int)*id - 1) ? card : -1;
        }
    return -1;
}

bool mig_is_instance(const struct sim_gpu *gpu) {
    unsigned id;
    return mig_card_of(gpu, &id) >= 0;
}

struct sim_gpu *mig_instance(int card, unsigned slot) {
    return slot < MIG_MOST_PARTS && present(card, (int)slot) ? &instances[card][slot] : NULL;
}

struct sim_gpu *mig_instance_of_uuid(const char *uuid) {
    for (int card = 0; card < SIM_MAX_GPUS; card++)
        for (int i = 0; i < MIG_MOST_PARTS; i++)
            if (present(card, i) && strcasecmp(instances[card][i].uuid, uuid) == 0)
                return &instances[card][i];
    return NULL;
}
