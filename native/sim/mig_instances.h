/* MIG instances as cards of their own: name, UUID and memory are theirs, the rest their card's. */
#pragma once

#include "node.h"

/* Number of the card that an instance is a part of, and in `id` its own from 1; -1 for what is no instance.
 */
int mig_card_of(const struct sim_gpu *gpu, unsigned *id);
bool mig_is_instance(const struct sim_gpu *gpu);

/* The instance in a slot of a card, or with that UUID, else NULL. */
struct sim_gpu *mig_instance(int card, unsigned slot);
struct sim_gpu *mig_instance_of_uuid(const char *uuid);
