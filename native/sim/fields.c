#include "fields.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOP(key, kind, member, required)                                                                     \
    {key, kind, offsetof(struct sim_config, member), sizeof(((struct sim_config *)0)->member), required}
#define GPU(key, kind, member, required)                                                                     \
    {key, kind, offsetof(struct sim_gpu, member), sizeof(((struct sim_gpu *)0)->member), required}

const struct sim_field sim_top_fields[] = {
    TOP("driverVersion", SIM_TEXT, driver_version, true),
    TOP("cudaVersion", SIM_CUDA_VERSION, cuda_version, true),
    TOP("needDeviceNode", SIM_BOOL, need_device_node, false),
    {NULL, SIM_TEXT, 0, 0, false},
};

const struct sim_field sim_gpu_fields[] = {
    GPU("productName", SIM_TEXT, product, true),
    GPU("uuid", SIM_UUID, uuid, true),
    GPU("memoryMiB", SIM_MEBIBYTES, memory, true),
    GPU("pciBusId", SIM_BUS_ID, pci_domain, true),
    GPU("architecture", SIM_TEXT, architecture, true),
    GPU("computeCapability", SIM_CAPABILITY, cc_major, true),
    GPU("minor", SIM_UINT, minor, false),
    GPU("brand", SIM_TEXT, brand, false),
    GPU("multiprocessors", SIM_UINT, multiprocessors, false),
    GPU("pcieRoot", SIM_TEXT, pcie_root, false),
    GPU("numaNode", SIM_INT, numa_node, false),
    GPU("migDevices", SIM_TEXT, mig, false),
    GPU("serial", SIM_TEXT, serial, false),
    GPU("contextMiB", SIM_MEBIBYTES, context, false),
    GPU("powerLimitWatts", SIM_UINT, power_limit_watts, false),
    GPU("powerIdleWatts", SIM_UINT, power_idle_watts, false),
    GPU("temperature", SIM_UINT, temperature, false),
    {NULL, SIM_TEXT, 0, 0, false},
};

static bool whole(const char *text, long low, long high, long *value) {
    char *end;
    errno = 0;
    *value = strtol(text, &end, 10);
    return end != text && *end == '\0' && errno == 0 && *value >= low && *value <= high;
}

static bool pair(const char *text, unsigned *first, unsigned *second) {
    int used = 0;
    return sscanf(text, "%3u.%3u%n", first, second, &used) == 2 && text[used] == '\0';
}

static bool is_uuid(const char *text) {
    static const char form[] = "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (strlen(text) != sizeof form - 1) return false;
    for (size_t i = 0; form[i]; i++)
        if (form[i] == 'x' ? !isxdigit((unsigned char)text[i]) : text[i] != form[i]) return false;
    return true;
}

static const char *set_text(const struct sim_field *field, char *out, const char *text) {
    if (*text == '\0') return "is empty; give it a value or remove the line";
    if (strlen(text) >= field->size) return "is too long; shorten it";
    strcpy(out, text); /* fits: tested above */
    return NULL;
}

static const char *set_bus_id(unsigned *parts, const char *text) {
    int used = 0;
    bool good = sscanf(text, "%8x:%2x:%2x.%1x%n", &parts[0], &parts[1], &parts[2], &parts[3], &used) == 4;
    return good && text[used] == '\0' ? NULL : "is not a PCI address; write it like \"0000:65:01.0\"";
}

const char *sim_field_set(const struct sim_field *field, void *base, const char *text) {
    void *out = (char *)base + field->offset;
    unsigned first, second;
    long value;
    switch (field->kind) {
    case SIM_TEXT:
        return set_text(field, out, text);
    case SIM_UUID:
        if (!is_uuid(text))
            return "is not a GPU UUID; write it like GPU-f1c7d08c-ae21-13e7-0de0-9eb14ff71eaf";
        return set_text(field, out, text);
    case SIM_BUS_ID:
        return set_bus_id(out, text); /* the four parts lie one after the other */
    case SIM_UINT:
    case SIM_INT:
        if (!whole(text, field->kind == SIM_INT ? -1 : 0, INT_MAX, &value))
            return "is not a whole number; write digits only";
        *(int *)out = (int)value;
        return NULL;
    case SIM_MEBIBYTES:
        if (!whole(text, 1, 1L << 24, &value))
            return "is not a number of MiB; write a whole number from 1 to 16777216";
        *(uint64_t *)out = (uint64_t)value * SIM_MIB;
        return NULL;
    case SIM_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return "is not a boolean; write true or false";
        *(bool *)out = text[0] == 't';
        return NULL;
    case SIM_CAPABILITY:
        if (!pair(text, &first, &second)) return "is not a compute capability; write it like \"8.6\"";
        ((unsigned *)out)[0] = first, ((unsigned *)out)[1] = second;
        return NULL;
    case SIM_CUDA_VERSION:
        if (!pair(text, &first, &second)) return "is not a CUDA version; write it like \"12.4\"";
        *(unsigned *)out = first * 1000 + second * 10;
        return NULL;
    }
    return "has no known kind";
}
