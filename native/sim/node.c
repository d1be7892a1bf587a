#include "node.h"

#include <pthread.h>
#include <stdio.h>

#include "error.h"
#include "paths.h"

static struct sim_node the_node;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static bool open_node(struct sim_node *node) {
    char error[1024];
    if (!sim_paths_find(&node->paths)) return false;
    if (!sim_config_read(node->paths.config, &node->config, error, sizeof error)) {
        sim_complain("%s", error);
        return false;
    }
    node->state = sim_state_open(node->paths.state, &node->config);
    sim_config_hide_absent(&node->config); /* after the state, which knows all cards */
    return node->state != NULL;
}

struct sim_node *sim_node(void) {
    pthread_mutex_lock(&mutex);
    bool ready = the_node.state || open_node(&the_node);
    pthread_mutex_unlock(&mutex);
    return ready ? &the_node : NULL;
}

void sim_bus_id(const struct sim_gpu *gpu, int domain_digits, char *out, size_t size) {
    snprintf(out, size, "%0*X:%02X:%02X.%X", domain_digits, gpu->pci_domain, gpu->pci_bus, gpu->pci_device,
             gpu->pci_function);
}

struct sim_gpu *sim_gpu_by_bus_id(struct sim_node *node, const char *text) {
    unsigned domain, bus, device, function = 0;
    if (sscanf(text, "%x:%x:%x.%x", &domain, &bus, &device, &function) < 3) {
        domain = 0;
        if (sscanf(text, "%x:%x.%x", &bus, &device, &function) < 2) return NULL;
    }
    for (int i = 0; i < node->config.gpus; i++) {
        struct sim_gpu *g = &node->config.gpu[i];
        if (g->pci_domain == domain && g->pci_bus == bus && g->pci_device == device) return g;
    }
    return NULL;
}
