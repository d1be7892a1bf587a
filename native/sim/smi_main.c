/* nvidia-smi: arguments -> cards -> one of the outputs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smi.h"

static const char usage[] =
    "NVIDIA System Management Interface (simulated driver)\n\n"
    "nvidia-smi [OPTION1 [ARG1]] [OPTION2 [ARG2]] ...\n\n"
    "    -h,   --help                Print usage information and exit.\n"
    "    -L,   --list-gpus           Display a list of GPUs connected to the system.\n"
    "    -i,   --id=                 Target a specific GPU: index, UUID or PCI bus id.\n"
    "    --query-gpu=                Information about GPU, for example memory.total,memory.used,uuid.\n"
    "    --query-compute-apps=       List of processes: pid,process_name,gpu_uuid,used_memory.\n"
    "    --format=                   csv[,noheader][,nounits]\n";

struct options {
    const char *id, *query_gpu, *query_apps, *format;
    bool list, help;
};

/* "--name=value" or "--name value" (or "-i value"): the value, else NULL. */
static const char *value_of(const char *name, char ***argv) {
    size_t length = strlen(name);
    if (strncmp(**argv, name, length) != 0) return NULL;
    if ((**argv)[length] == '=') return **argv + length + 1;
    if ((**argv)[length] != '\0' || !(*argv)[1]) return NULL;
    return *++*argv;
}

static bool parse(char **argv, struct options *o) {
    const char *v;
    for (argv++; *argv; argv++) {
        if (!strcmp(*argv, "-h") || !strcmp(*argv, "--help"))
            o->help = true;
        else if (!strcmp(*argv, "-L") || !strcmp(*argv, "--list-gpus"))
            o->list = true;
        else if ((v = value_of("-i", &argv)) || (v = value_of("--id", &argv)))
            o->id = v;
        else if ((v = value_of("--query-gpu", &argv)))
            o->query_gpu = v;
        else if ((v = value_of("--query-compute-apps", &argv)))
            o->query_apps = v;
        else if ((v = value_of("--format", &argv)))
            o->format = v;
        else {
            printf("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n\n");
            return false;
        }
    }
    return true;
}

/* The card that `id` names, or all. */
static unsigned select_cards(const char *id, nvmlDevice_t out[64]) {
    unsigned count = 0;
    if (!id) {
        nvml.nvmlDeviceGetCount_v2(&count);
        if (count > 64) count = 64;
        for (unsigned i = 0; i < count; i++) nvml.nvmlDeviceGetHandleByIndex_v2(i, &out[i]);
        return count;
    }
    char *end;
    unsigned long index = strtoul(id, &end, 10);
    nvmlReturn_t result = *end == '\0' && *id ? nvml.nvmlDeviceGetHandleByIndex_v2((unsigned)index, out)
                          : strncmp(id, "GPU-", 4) == 0 ? nvml.nvmlDeviceGetHandleByUUID(id, out)
                                                        : nvml.nvmlDeviceGetHandleByPciBusId_v2(id, out);
    return result == NVML_SUCCESS;
}

int main(int argc, char **argv) {
    (void)argc;
    struct options o = {0};
    nvmlDevice_t devices[64];
    if (!parse(argv, &o)) return 2;
    if (o.help) return printf("%s", usage) < 0;
    if (!smi_load()) return 9;
    unsigned count = select_cards(o.id, devices);
    int code = 6;
    if (count == 0)
        printf("No devices were found\n");
    else if (o.list)
        code = smi_list(devices, count);
    else if (o.query_gpu)
        code = smi_query(devices, count, o.query_gpu, o.format);
    else if (o.query_apps)
        code = smi_query_apps(devices, count, o.query_apps, o.format);
    else
        code = smi_table(devices, count);
    nvml.nvmlShutdown();
    return code;
}
