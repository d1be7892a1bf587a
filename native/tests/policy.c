/* policy FOLDER: limits, ledger, budget, charges, code and graphs, each from its header's promises. */
#include "policy.h"

static const char *folder;

const char *in_folder(const char *name) {
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void add_share(const char *shares, const char *name, const char *device, uint64_t memory, const char *more) {
    char text[512], path[600];
    mkdir(shares, 0777);
    snprintf(path, sizeof path, "%s/%s", shares, name);
    mkdir(path, 0777);
    snprintf(text, sizeof text, "version=1\nshare=%s\ndevice=%s\nmemory=%lu\n%s", name, device, memory, more);
    snprintf(path, sizeof path, "%s/%s/limits", shares, name);
    write_file(path, text, strlen(text));
    snprintf(path, sizeof path, "%s/%s/ledger", shares, name);
    new_ledger(path);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    folder = argv[1];
    test_limits();
    test_ledger();
    test_excess();
    test_budget();
    test_charges();
    test_held();
    test_code();
    test_graphs();
    printf("policy: as promised\n");
    return 0;
}
