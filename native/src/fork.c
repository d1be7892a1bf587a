/* In the child of a fork: what the parent holds is not the child's, and its locks are nobody's. */
#include "budget.h"
#include "cards.h"
#include "charges.h"
#include "code.h"
#include "contexts.h"
#include "graph_memory.h"
#include "hook_host.h"
#include "hook_launch.h"
#include "hook_primary.h"
#include "physical.h"
#include "pools.h"

void after_fork(void) {
    budget_forked();
    charges_forked();
    contexts_forked();
    primaries_forked();
    physical_forked();
    code_forked();
    pools_forked();
    host_forked();
    graphs_forked();
    launches_forked();
}
