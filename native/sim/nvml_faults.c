/* The file of faults, read anew by each question: it has a few lines, and only watchers of health ask. */
#include "nvml_faults.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node.h"

enum { EVENT_DOUBLE_BIT_ECC = 0x2, EVENT_XID = 0x8 };

static FILE *open_faults(void) {
    char path[PATH_MAX + 8];
    const struct sim_node *node = sim_node();
    if (!node) return NULL;
    snprintf(path, sizeof path, "%s.faults", node->paths.state);
    return access(path, R_OK) == 0 ? fopen(path, "re") : NULL;
}

/* Reads the next line of three words, the last of which may be missing; false at the end. */
static bool next(FILE *file, char what[16], char uuid[80], unsigned *number) {
    char line[160];
    while (fgets(line, sizeof line, file)) {
        *number = 0;
        if (sscanf(line, "%15s %79s %u", what, uuid, number) >= 2 && what[0] != '#') return true;
    }
    return false;
}

/* The number of the last line WHAT about the card, -1 when there is none. */
static long level(const struct sim_gpu *gpu, const char *what) {
    char word[16], uuid[80];
    unsigned number;
    long found = -1;
    FILE *file = open_faults();
    if (!file) return found;
    while (next(file, word, uuid, &number))
        if (strcmp(word, what) == 0 && strcmp(uuid, gpu->uuid) == 0) found = (long)number;
    fclose(file);
    return found;
}

bool sim_fault_lost(const struct sim_gpu *gpu) { return level(gpu, "lost") >= 0; }

unsigned sim_fault_recovery(const struct sim_gpu *gpu) {
    long action = level(gpu, "recovery");
    return action < 0 ? 0 : (unsigned)action;
}

bool sim_fault_event(unsigned number, struct sim_fault_event *event) {
    char word[16];
    bool found = false;
    FILE *file = open_faults();
    if (!file) return false;
    while (!found && next(file, word, event->uuid, &event->code)) {
        bool xid = strcmp(word, "xid") == 0;
        event->type = xid ? EVENT_XID : EVENT_DOUBLE_BIT_ECC;
        if (xid || strcmp(word, "ecc") == 0) found = number-- == 0;
    }
    fclose(file);
    return found;
}

unsigned sim_fault_events(void) {
    struct sim_fault_event event;
    unsigned count = 0;
    while (sim_fault_event(count, &event)) count++;
    return count;
}
