/* oracle CONFIG STATE: the most that each group of processes ever held of the first card, by the simulated
 * driver; and what is held of each card now. */
#include "../sim/state.h"
#include "check.h"

int main(int argc, char **argv) {
    static struct sim_config config;
    char error[256];
    CHECK(argc == 3 && sim_config_read(argv[1], &config, error, sizeof error));
    struct sim_state *state = sim_state_open(argv[2], &config);
    CHECK(state);
    for (int group = 0; group < SIM_GROUPS; group++) printf("%lu\n", state->most[group][0]);
    for (int card = 0; card < config.gpus; card++) printf("%lu\n", sim_state_used(state, card));
    return 0;
}
