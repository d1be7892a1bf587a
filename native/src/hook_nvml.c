/*
 * What NVML, and so nvidia-smi, tells: the share is the card, its use is the share's own, and of its
 * processes only those are listed that draw on the same shares. The driver lists a whole node's by numbers
 * that mean nothing in a container, or none there; the ledger knows them by their own.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cards.h"
#include "meter.h"

static card_state card_of_handle(nvmlDevice_t device, budget **card) {
    static _Atomic(void *) found;
    nvmlReturn_t (*get_uuid)(nvmlDevice_t, char *, unsigned int) = kept_function(&found, "nvmlDeviceGetUUID");
    char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];
    if (!get_uuid || get_uuid(device, uuid, sizeof uuid) != NVML_SUCCESS) return CARD_FREE;
    return card_of_uuid(uuid, card);
}

/* Whether the driver has answered, for a card that has a limit here. */
static bool is_ours(nvmlReturn_t result, nvmlDevice_t device, budget **card) {
    return result == NVML_SUCCESS && card_of_handle(device, card) == CARD_LIMITED;
}

/* Both forms of the answer. As cuMemGetInfo says: free is no more than the card has left. */
#define TELL_MEMORY(memory, card)                                                                            \
    do {                                                                                                     \
        (memory)->total = least(budget_limit(card), (memory)->total);                                        \
        (memory)->used = least(budget_usage(card), (memory)->total);                                         \
        (memory)->free = least((memory)->free, (memory)->total - (memory)->used);                            \
    } while (0)

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    nvmlDeviceGetMemoryInfo_type real = REAL(nvmlDeviceGetMemoryInfo);
    if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;
    nvmlReturn_t result = real(device, memory);
    budget *card = NULL;
    if (is_ours(result, device, &card)) TELL_MEMORY(memory, card);
    return result;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    nvmlDeviceGetMemoryInfo_v2_type real = REAL(nvmlDeviceGetMemoryInfo_v2);
    if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;
    nvmlReturn_t result = real(device, memory);
    budget *card = NULL;
    if (!is_ours(result, device, &card)) return result;
    TELL_MEMORY(memory, card);
    memory->reserved = memory->total - memory->used - memory->free; /* what others took of the share's room */
    return result;
}

/* --- processes ------------------------------------------------------------------------------------------ */

enum { MOST_PROCESSES = LEDGER_SLOTS };

typedef struct {
    ledger_holder each[MOST_PROCESSES];
    int count;
} process_list;

/* A share may be used from several PID namespaces; what cannot be seen from here cannot be named here. */
static bool is_visible(uint32_t pid) { return pid && (kill((pid_t)pid, 0) == 0 || errno == EPERM); }

/* To be freed; NULL without host memory. */
static process_list *find_processes(const budget *card) {
    process_list *found = malloc(sizeof *found);
    int all = found ? budget_holders(card, found->each, MOST_PROCESSES) : 0;
    if (found) found->count = 0;
    for (int i = 0; i < all; i++)
        if (is_visible(found->each[i].pid)) found->each[found->count++] = found->each[i];
    return found;
}

/* NULL: none of ours. */
static const ledger_holder *holder_of(const process_list *processes, unsigned int pid) {
    for (int i = 0; i < processes->count; i++)
        if (processes->each[i].pid == pid) return &processes->each[i];
    return NULL;
}

/* Fills an array of entries of one SIZE: each form begins like the longest. */
static nvmlReturn_t tell_processes(const budget *card, unsigned int *count, void *infos, size_t size) {
    process_list *processes = find_processes(card);
    if (!processes) return NVML_ERROR_MEMORY;
    unsigned int room = *count;
    *count = (unsigned int)processes->count;
    bool fits = *count <= room && (infos || *count == 0);
    for (unsigned int i = 0; fits && i < *count; i++) {
        nvmlProcessDetail_v1_t longest = {processes->each[i].pid, processes->each[i].bytes, NVML_NO_INSTANCE,
                                          NVML_NO_INSTANCE, 0};
        memcpy((char *)infos + i * size, &longest, size);
    }
    free(processes);
    return fits ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

/* The driver's own list is not told where there is a limit. */
#define COMPUTE_PROCESSES(symbol, type)                                                                      \
    nvmlReturn_t symbol(nvmlDevice_t device, unsigned int *count, type *infos) {                             \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;                                                     \
        budget *card = NULL;                                                                                 \
        if (!count || card_of_handle(device, &card) != CARD_LIMITED) return real(device, count, infos);      \
        return tell_processes(card, count, infos, sizeof *infos);                                            \
    }
COMPUTE_PROCESSES(nvmlDeviceGetComputeRunningProcesses, nvmlProcessInfo_v1_t)
COMPUTE_PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, nvmlProcessInfo_v2_t)
COMPUTE_PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, nvmlProcessInfo_v3_t)

/* Graphics, MPS clients and samples of use: of the COUNT entries that the driver lists, what is ours. Where
 * they tell bytes (BYTES_AT; 0: they do not), those are what the process holds of the share, as in the list
 * of all. */
static void keep_ours(const budget *card, void *entries, unsigned int *count, size_t size, size_t pid_at,
                      size_t bytes_at) {
    process_list *processes = find_processes(card);
    unsigned int kept = 0;
    for (unsigned int i = 0; processes && entries && i < *count; i++) {
        char *entry = (char *)entries + i * size;
        unsigned int pid;
        memcpy(&pid, entry + pid_at, sizeof pid);
        const ledger_holder *holder = holder_of(processes, pid);
        if (!holder) continue;
        unsigned long long bytes = holder->bytes;
        if (bytes_at) memcpy(entry + bytes_at, &bytes, sizeof bytes);
        memmove((char *)entries + kept++ * size, entry, size);
    }
    free(processes);
    *count = kept;
}
#define KEEP_SAMPLES(card, entries, count, type)                                                             \
    keep_ours(card, entries, count, sizeof(type), offsetof(type, pid), 0)
#define KEEP_PROCESSES(card, entries, count, type)                                                           \
    keep_ours(card, entries, count, sizeof(type), offsetof(type, pid), offsetof(type, usedGpuMemory))

#define OTHER_PROCESSES(symbol, type)                                                                        \
    nvmlReturn_t symbol(nvmlDevice_t device, unsigned int *count, type *infos) {                             \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;                                                     \
        nvmlReturn_t result = real(device, count, infos);                                                    \
        budget *card = NULL;                                                                                 \
        if (is_ours(result, device, &card)) KEEP_PROCESSES(card, infos, count, type);                        \
        return result;                                                                                       \
    }
OTHER_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses, nvmlProcessInfo_v1_t)
OTHER_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlProcessInfo_v2_t)
OTHER_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, nvmlProcessInfo_v3_t)
OTHER_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses, nvmlProcessInfo_v1_t)
OTHER_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvmlProcessInfo_v2_t)
OTHER_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, nvmlProcessInfo_v3_t)

/* All three kinds of process behind one function. */
nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_v1_t *list) {
    nvmlDeviceGetRunningProcessDetailList_type real = REAL(nvmlDeviceGetRunningProcessDetailList);
    if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;
    budget *card = NULL;
    if (list && list->version == NVML_PROCESS_DETAIL_LIST_V1 && list->mode == NVML_PROCESSES_COMPUTE &&
        card_of_handle(device, &card) == CARD_LIMITED)
        return tell_processes(card, &list->numProcArrayEntries, list->procArray, sizeof *list->procArray);
    nvmlReturn_t result = real(device, list);
    if (is_ours(result, device, &card))
        KEEP_PROCESSES(card, list->procArray, &list->numProcArrayEntries, nvmlProcessDetail_v1_t);
    return result;
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples,
                                             unsigned int *count, unsigned long long last_seen) {
    nvmlDeviceGetProcessUtilization_type real = REAL(nvmlDeviceGetProcessUtilization);
    if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;
    nvmlReturn_t result = real(device, samples, count, last_seen);
    budget *card = NULL;
    if (!samples || !is_ours(result, device, &card)) return result;
    KEEP_SAMPLES(card, samples, count, nvmlProcessUtilizationSample_t);
    return *count ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device,
                                                   nvmlProcessesUtilizationInfo_v1_t *infos) {
    nvmlDeviceGetProcessesUtilizationInfo_type real = REAL(nvmlDeviceGetProcessesUtilizationInfo);
    if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;
    nvmlReturn_t result = real(device, infos);
    budget *card = NULL;
    if (!is_ours(result, device, &card)) return result;
    KEEP_SAMPLES(card, infos->procUtilArray, &infos->processSamplesCount, nvmlProcessUtilizationInfo_v1_t);
    return infos->processSamplesCount ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

/* Percent of the card that the driver saw our processes compute in the last second; WHOLE where it names
 * none. */
static unsigned int use_by_process(nvmlDevice_t device, const budget *card, unsigned int whole) {
    enum { SECOND_US = 1000000 };
    nvmlProcessUtilizationSample_t *samples = calloc(MOST_PROCESSES, sizeof *samples);
    unsigned int count = MOST_PROCESSES, sum = 0, named = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned long long since = (unsigned long long)(now.tv_sec - 1) * SECOND_US;
    if (samples && nvmlDeviceGetProcessUtilization(device, samples, &count, since) == NVML_SUCCESS)
        for (named = count; count > 0; count--) sum += samples[count - 1].smUtil;
    free(samples);
    ledger_holder any;
    if (named) return (unsigned int)least(sum, whole);
    return budget_holders(card, &any, 1) ? whole : 0;
}

/* Where computing is limited it is measured, and the ledger knows; elsewhere the driver is asked. */
static unsigned int own_use(nvmlDevice_t device, const budget *card, unsigned int whole) {
    unsigned int thousandths = 0;
    bool limited = false;
    for (int i = 0; i < card->count; i++) {
        const ledger_file *book = ledger_look(&card->shares[i]->book);
        limited |= card->shares[i]->limit.cores > 0;
        if (book) thousandths += throttle_recent_use(book, meter_now());
    }
    if (!limited && thousandths == 0) return use_by_process(device, card, whole);
    return (unsigned int)least((thousandths + 5) / 10, 100);
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    nvmlDeviceGetUtilizationRates_type real = REAL(nvmlDeviceGetUtilizationRates);
    if (!real) return NVML_ERROR_FUNCTION_NOT_FOUND;
    nvmlReturn_t result = real(device, rates);
    budget *card = NULL;
    if (!is_ours(result, device, &card)) return result;
    unsigned int whole = rates->gpu;
    rates->gpu = own_use(device, card, whole);
    rates->memory = whole ? (unsigned int)least(rates->memory * rates->gpu / whole, 100) : 0;
    return result;
}
