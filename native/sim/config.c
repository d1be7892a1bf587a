/* A reader for the subset of YAML that the file needs: scalars, one list `gpus` of flat maps, comments,
 * quotes. */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fields.h"

struct reader {
    const char *path;
    int line;
    char *error;
    size_t error_size;
    struct sim_config *config;
    bool in_gpus;
    uint64_t seen_top, seen_gpu; /* one bit for each field, in the order of its table */
};

__attribute__((format(printf, 2, 3))) static bool fail(struct reader *r, const char *format, ...) {
    int used = snprintf(r->error, r->error_size, "%s:%d: ", r->path, r->line);
    va_list args;
    va_start(args, format);
    if (used > 0 && (size_t)used < r->error_size)
        vsnprintf(r->error + used, r->error_size - (size_t)used, format, args);
    va_end(args);
    return false;
}

/* Cuts comment, blanks and quotes off `text`, in place. False when a quote does not end. */
static bool scalar(char **text) {
    char *s = *text + strspn(*text, " \t");
    if (*s == '"' || *s == '\'') {
        char *end = strchr(s + 1, *s);
        if (!end) return false;
        *end = '\0';
        *text = s + 1;
        const char *rest = end + 1 + strspn(end + 1, " \t");
        return *rest == '\0' || *rest == '#';
    }
    for (char *c = s; *c; c++)
        if (*c == '#' && (c == s || c[-1] == ' ' || c[-1] == '\t')) *c = '\0';
    for (size_t n = strlen(s); n > 0 && strchr(" \t", s[n - 1]); n--) s[n - 1] = '\0';
    *text = s;
    return true;
}

static bool missing(struct reader *r, const struct sim_field *fields, uint64_t seen, const char *where) {
    for (unsigned i = 0; fields[i].key; i++)
        if (fields[i].required && !(seen >> i & 1)) {
            fail(r, "%s has no %s; add a line \"%s: ...\"", where, fields[i].key, fields[i].key);
            return true;
        }
    return false;
}

static bool set(struct reader *r, const struct sim_field *fields, uint64_t *seen, void *base, char *text) {
    char *colon = strchr(text, ':');
    if (!colon || (colon[1] && !strchr(" \t", colon[1])))
        return fail(r, "'%s' is not \"key: value\"; put a colon and a space after the key", text);
    *colon = '\0';
    char *value = colon + 1;
    if (!scalar(&value)) return fail(r, "the value of %s has a quote that does not end; close it", text);
    for (unsigned i = 0; fields[i].key; i++) {
        if (strcmp(fields[i].key, text) != 0) continue;
        if (*seen >> i & 1) return fail(r, "%s is given twice; remove one", text);
        *seen |= UINT64_C(1) << i;
        const char *problem = sim_field_set(&fields[i], base, value);
        return problem ? fail(r, "%s '%s' %s", text, value, problem) : true;
    }
    return fail(r, "unknown key '%s'; the known ones are listed in native/sim/README.md", text);
}

static bool begin_gpu(struct reader *r) {
    struct sim_config *c = r->config;
    if (c->gpus && missing(r, sim_gpu_fields, r->seen_gpu, "the GPU before this line")) return false;
    if (c->gpus == SIM_MAX_GPUS) return fail(r, "more than %d GPUs; remove some", SIM_MAX_GPUS);
    c->gpu[c->gpus] = (struct sim_gpu){.minor = c->gpus,
                                       .numa_node = -1,
                                       .multiprocessors = 72,
                                       .brand = "Nvidia",
                                       .context = 256 * SIM_MIB,
                                       .power_limit_watts = 150,
                                       .power_idle_watts = 22,
                                       .temperature = 32,
                                       .card = c->gpus,
                                       .line = r->line};
    c->gpus++;
    r->seen_gpu = 0;
    return true;
}

static bool take_line(struct reader *r, char *text) {
    text[strcspn(text, "\r\n")] = '\0';
    size_t indent = strspn(text, " ");
    char *body = text + indent;
    if (*body == '\0' || *body == '#' || strcmp(text, "---") == 0) return true;
    if (*body == '\t') return fail(r, "a tab in the indentation; use spaces");
    bool item = body[0] == '-' && body[1] == ' ';
    if (indent == 0 && !item) {
        r->in_gpus = false;
        if (strncmp(body, "gpus:", 5) != 0) return set(r, sim_top_fields, &r->seen_top, r->config, body);
        char *rest = body + 5;
        if (!scalar(&rest) || *rest)
            return fail(r, "gpus is not a list; begin each GPU on its own line with \"- \"");
        return r->in_gpus = true;
    }
    if (!r->in_gpus) return fail(r, "'%s' belongs to no list; put it under \"gpus:\"", body);
    if (item && !begin_gpu(r)) return false;
    if (r->config->gpus == 0)
        return fail(r, "'%s' comes before the first \"- \"; begin each GPU with \"- \"", body);
    if (item) body += 1 + strspn(body + 1, " ");
    return set(r, sim_gpu_fields, &r->seen_gpu, &r->config->gpu[r->config->gpus - 1], body);
}

static bool distinct(struct reader *r) {
    const struct sim_config *c = r->config;
    for (int i = 0; i < c->gpus; i++)
        for (int j = 0; j < i; j++) {
            const struct sim_gpu *a = &c->gpu[i], *b = &c->gpu[j];
            r->line = a->line;
            if (strcmp(a->uuid, b->uuid) == 0)
                return fail(r, "two GPUs have the uuid %s; change one", a->uuid);
            if (a->minor == b->minor) return fail(r, "two GPUs have the minor %d; change one", a->minor);
            if (memcmp(&a->pci_domain, &b->pci_domain, 4 * sizeof a->pci_domain) == 0)
                return fail(r, "two GPUs have the same pciBusId; change one");
        }
    return true;
}

bool sim_config_read(const char *path, struct sim_config *config, char *error, size_t error_size) {
    struct reader r = {.path = path, .line = 1, .error = error, .error_size = error_size, .config = config};
    memset(config, 0, sizeof *config);
    FILE *file = fopen(path, "re");
    if (!file) return fail(&r, "cannot be read: %s; check the path and its permissions", strerror(errno));
    char text[512];
    bool good = true;
    for (r.line = 1; good && fgets(text, sizeof text, file); r.line++) {
        if (!strchr(text, '\n') && !feof(file))
            good = fail(&r, "the line is longer than 500 characters; shorten it");
        if (good) good = take_line(&r, text);
    }
    fclose(file);
    if (!good || missing(&r, sim_top_fields, r.seen_top, "the file")) return false;
    if (config->gpus == 0) return fail(&r, "no GPU; add a list \"gpus:\" with at least one");
    return !missing(&r, sim_gpu_fields, r.seen_gpu, "the last GPU") && distinct(&r);
}

void sim_config_hide_absent(struct sim_config *config) {
    if (!config->need_device_node) return;
    int kept = 0;
    for (int i = 0; i < config->gpus; i++) {
        char node[32];
        snprintf(node, sizeof node, "/dev/nvidia%d", config->gpu[i].minor);
        if (access(node, F_OK) == 0) config->gpu[kept++] = config->gpu[i];
    }
    config->gpus = kept;
}
