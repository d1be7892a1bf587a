/* `-L` and the `--query-*=... --format=csv` outputs. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "smi.h"

/* Writes the value of a field, without its unit, into out. */
typedef nvmlReturn_t getter(nvmlDevice_t device, char *out, size_t size);
#define GETTER(name) static nvmlReturn_t name(nvmlDevice_t device, char *out, size_t size)
#define PRINTED(result, ...)                                                                                 \
    nvmlReturn_t r = (result);                                                                               \
    snprintf(out, size, __VA_ARGS__);                                                                        \
    return r

GETTER(get_name) { return nvml.nvmlDeviceGetName(device, out, (unsigned)size); }
GETTER(get_uuid) { return nvml.nvmlDeviceGetUUID(device, out, (unsigned)size); }
GETTER(get_serial) { return nvml.nvmlDeviceGetSerial(device, out, (unsigned)size); }
GETTER(get_driver) {
    (void)device;
    return nvml.nvmlSystemGetDriverVersion(out, (unsigned)size);
}
GETTER(get_count) {
    (void)device;
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetCount_v2(&n), "%u", n);
}
GETTER(get_index) {
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetIndex(device, &n), "%u", n);
}
GETTER(get_bus_id) {
    nvmlPciInfo_t p = {0};
    PRINTED(nvml.nvmlDeviceGetPciInfo_v3(device, &p), "%s", p.busId);
}
GETTER(get_total) {
    nvmlMemory_v2_t m = {.version = NVML_MEMORY_V2};
    PRINTED(nvml.nvmlDeviceGetMemoryInfo_v2(device, &m), "%llu", m.total >> 20);
}
GETTER(get_reserved) {
    nvmlMemory_v2_t m = {.version = NVML_MEMORY_V2};
    PRINTED(nvml.nvmlDeviceGetMemoryInfo_v2(device, &m), "%llu", m.reserved >> 20);
}
GETTER(get_used) {
    nvmlMemory_v2_t m = {.version = NVML_MEMORY_V2};
    PRINTED(nvml.nvmlDeviceGetMemoryInfo_v2(device, &m), "%llu", m.used >> 20);
}
GETTER(get_free) {
    nvmlMemory_v2_t m = {.version = NVML_MEMORY_V2};
    PRINTED(nvml.nvmlDeviceGetMemoryInfo_v2(device, &m), "%llu", m.free >> 20);
}
GETTER(get_load) {
    nvmlUtilization_t u = {0};
    PRINTED(nvml.nvmlDeviceGetUtilizationRates(device, &u), "%u", u.gpu);
}
GETTER(get_memory_load) {
    nvmlUtilization_t u = {0};
    PRINTED(nvml.nvmlDeviceGetUtilizationRates(device, &u), "%u", u.memory);
}
GETTER(get_temperature) {
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetTemperature(device, 0, &n), "%u", n);
}
GETTER(get_power) {
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetPowerUsage(device, &n), "%.2f", n / 1000.0);
}
GETTER(get_power_limit) {
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetEnforcedPowerLimit(device, &n), "%.2f", n / 1000.0);
}
GETTER(get_fan) {
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetFanSpeed(device, &n), "%u", n);
}
GETTER(get_state) {
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetPerformanceState(device, &n), "P%u", n);
}
GETTER(get_persistence) {
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetPersistenceMode(device, &n), "%s", n ? "Enabled" : "Disabled");
}
GETTER(get_compute_mode) {
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetComputeMode(device, &n), "%s", n ? "Exclusive_Process" : "Default");
}
GETTER(get_sm_clock) {
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetClockInfo(device, 1, &n), "%u", n);
}
GETTER(get_memory_clock) {
    unsigned n = 0;
    PRINTED(nvml.nvmlDeviceGetClockInfo(device, 2, &n), "%u", n);
}
GETTER(get_capability) {
    int a = 0, b = 0;
    PRINTED(nvml.nvmlDeviceGetCudaComputeCapability(device, &a, &b), "%d.%d", a, b);
}
GETTER(get_mig) {
    unsigned a = 0, b = 0;
    PRINTED(nvml.nvmlDeviceGetMigMode(device, &a, &b), "%s", a ? "Enabled" : "Disabled");
}
GETTER(get_ecc) {
    unsigned a = 0, b = 0;
    PRINTED(nvml.nvmlDeviceGetEccMode(device, &a, &b), "%s", a ? "Enabled" : "Disabled");
}
GETTER(get_timestamp) {
    (void)device;
    time_t now = time(NULL);
    struct tm local;
    strftime(out, size, "%Y/%m/%d %H:%M:%S.000", localtime_r(&now, &local));
    return NVML_SUCCESS;
}

static const struct field {
    const char *name, *alias, *unit;
    getter *get;
} gpu_fields[] = {
    {"timestamp", NULL, NULL, get_timestamp},
    {"driver_version", NULL, NULL, get_driver},
    {"count", NULL, NULL, get_count},
    {"name", "gpu_name", NULL, get_name},
    {"uuid", "gpu_uuid", NULL, get_uuid},
    {"serial", "gpu_serial", NULL, get_serial},
    {"index", NULL, NULL, get_index},
    {"pci.bus_id", "gpu_bus_id", NULL, get_bus_id},
    {"compute_cap", NULL, NULL, get_capability},
    {"memory.total", NULL, "MiB", get_total},
    {"memory.reserved", NULL, "MiB", get_reserved},
    {"memory.used", NULL, "MiB", get_used},
    {"memory.free", NULL, "MiB", get_free},
    {"utilization.gpu", NULL, "%", get_load},
    {"utilization.memory", NULL, "%", get_memory_load},
    {"temperature.gpu", NULL, NULL, get_temperature},
    {"power.draw", NULL, "W", get_power},
    {"power.limit", NULL, "W", get_power_limit},
    {"fan.speed", NULL, "%", get_fan},
    {"pstate", NULL, NULL, get_state},
    {"persistence_mode", NULL, NULL, get_persistence},
    {"compute_mode", NULL, NULL, get_compute_mode},
    {"clocks.sm", "clocks.current.sm", "MHz", get_sm_clock},
    {"clocks.mem", "clocks.current.memory", "MHz", get_memory_clock},
    {"mig.mode.current", NULL, NULL, get_mig},
    {"ecc.mode.current", NULL, NULL, get_ecc},
};
enum { FIELDS = sizeof gpu_fields / sizeof *gpu_fields, MOST = 64 };

/* Splits "a,b" into known fields; their number, or -1 after a message. */
static int parse(const char *text, const struct field *out[MOST]) {
    char copy[1024];
    int count = 0;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *save, *word = strtok_r(copy, ", ", &save); word && count < MOST;
         word = strtok_r(NULL, ", ", &save)) {
        const struct field *found = NULL;
        for (int i = 0; i < FIELDS; i++)
            if (!strcmp(word, gpu_fields[i].name) ||
                (gpu_fields[i].alias && !strcmp(word, gpu_fields[i].alias)))
                found = &gpu_fields[i];
        if (!found) {
            printf("Field \"%s\" is not a valid field to query.\n\n", word);
            return -1;
        }
        out[count++] = found;
    }
    return count;
}

static bool has(const char *format, const char *word) { return format && strstr(format, word); }

static bool is_csv(const char *format) {
    if (has(format, "csv")) return true;
    printf("\"--format=\" switch is missing or has no \"csv\". Please run 'nvidia-smi -h' for help.\n\n");
    return false;
}

int smi_query(const nvmlDevice_t *devices, unsigned count, const char *text, const char *format) {
    const struct field *fields[MOST];
    int n = is_csv(format) ? parse(text, fields) : -1;
    if (n < 0) return 2;
    for (int i = 0; i < n && !has(format, "noheader"); i++) {
        bool unit = fields[i]->unit && !has(format, "nounits");
        printf("%s%s", fields[i]->name, unit ? " [" : "");
        printf("%s%s%s", unit ? fields[i]->unit : "", unit ? "]" : "", i + 1 < n ? ", " : "\n");
    }
    for (unsigned d = 0; d < count; d++)
        for (int i = 0; i < n; i++) {
            char value[128] = "";
            bool good = fields[i]->get(devices[d], value, sizeof value) == NVML_SUCCESS;
            bool unit = good && fields[i]->unit && !has(format, "nounits");
            printf("%s%s%s%s", good ? value : "[N/A]", unit ? " " : "", unit ? fields[i]->unit : "",
                   i + 1 < n ? ", " : "\n");
        }
    return 0;
}

/* Fields of --query-compute-apps: one line for each process. */
static bool print_app_field(const char *field, nvmlDevice_t device, const nvmlProcessInfo_v3_t *p,
                            bool header, bool units) {
    char text[256] = "[Not Found]";
    if (!strcmp(field, "pid"))
        header ? printf("pid") : printf("%u", p->pid);
    else if (!strcmp(field, "process_name") || !strcmp(field, "name")) {
        if (!header) nvml.nvmlSystemGetProcessName(p->pid, text, sizeof text);
        printf("%s", header ? "process_name" : text);
    } else if (!strcmp(field, "gpu_uuid")) {
        if (!header) get_uuid(device, text, sizeof text);
        printf("%s", header ? "gpu_uuid" : text);
    } else if (!strcmp(field, "used_memory") || !strcmp(field, "used_gpu_memory")) {
        header ? printf("used_gpu_memory%s", units ? " [MiB]" : "")
               : printf("%llu%s", p->usedGpuMemory >> 20, units ? " MiB" : "");
    } else
        return false;
    return true;
}

static bool print_app(const char *fields, nvmlDevice_t device, const nvmlProcessInfo_v3_t *p, bool header,
                      bool units) {
    char copy[256];
    snprintf(copy, sizeof copy, "%s", fields);
    bool first = true;
    for (char *save, *word = strtok_r(copy, ", ", &save); word;
         word = strtok_r(NULL, ", ", &save), first = false) {
        if (!first) printf(", ");
        if (print_app_field(word, device, p, header, units)) continue;
        printf("Field \"%s\" is not a valid field to query.\n\n", word);
        return false;
    }
    printf("\n");
    return true;
}

int smi_query_apps(const nvmlDevice_t *devices, unsigned count, const char *fields, const char *format) {
    static nvmlProcessInfo_v3_t list[1024];
    bool units = !has(format, "nounits");
    if (!is_csv(format)) return 2;
    if (!has(format, "noheader") && !print_app(fields, NULL, NULL, true, units)) return 2;
    for (unsigned d = 0; d < count; d++) {
        unsigned n = smi_processes(devices[d], list, 1024);
        for (unsigned i = 0; i < n; i++)
            if (!print_app(fields, devices[d], &list[i], false, units)) return 2;
    }
    return 0;
}

int smi_list(const nvmlDevice_t *devices, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        char index[16] = "", name[96] = "", uuid[96] = "";
        get_index(devices[i], index, sizeof index);
        get_name(devices[i], name, sizeof name);
        get_uuid(devices[i], uuid, sizeof uuid);
        printf("GPU %s: %s (UUID: %s)\n", index, name, uuid);
    }
    return 0;
}
