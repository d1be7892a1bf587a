/*
 * The driver keeps the memory of a graph for the card when the executable graph is destroyed, until it is
 * trimmed; and what the graph has allocated without freeing it lives on. So its charge goes on, as one of the
 * card's.
 */
#include "graph_memory.h"

#include <stdlib.h>

#include "lock.h"

typedef struct {
    uint64_t live; /* bytes of the executable graphs there are */
    request kept;  /* charge of what the driver keeps beyond them */
    bool known;
} card_memory;

static card_memory cards[MOST_DEVICES];
static graph_allocation *left; /* of graphs that have ended, and of those that will */
static lock guard = NEW_LOCK;

void graphs_lock(void) { lock_take(&guard); }
void graphs_unlock(void) { lock_release(&guard); }

void graphs_began(CUdevice device, uint64_t bytes) { cards[device].live += bytes; }
uint64_t graphs_live(CUdevice device) { return cards[device].live; }

/* False without the driver's word. */
static bool ask_driver(CUdevice device, CUgraphMem_attribute what, uint64_t *bytes) {
    CUresult (*get)(CUdevice, CUgraphMem_attribute, void *) = driver_function("cuDeviceGetGraphMemAttribute");
    return get && get(device, what, bytes) == CUDA_SUCCESS;
}

void graphs_leave(CUgraphExec executable, graph_allocation *unfreed) {
    for (graph_allocation *each = unfreed, *next; each; each = next) {
        next = each->next;
        each->of = executable;
        each->next = left;
        left = each;
    }
}

/* Only what the driver says not to know has been freed. */
static bool is_freed(CUdeviceptr at) {
    CUresult (*get)(void *, CUpointer_attribute, CUdeviceptr) = driver_function("cuPointerGetAttribute");
    unsigned type;
    return get && get(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at) == CUDA_ERROR_INVALID_VALUE;
}

static void forget_freed(void) {
    for (graph_allocation **place = &left, *each; (each = *place);) {
        if (each->of || !is_freed(each->at)) {
            place = &each->next;
            continue;
        }
        *place = each->next;
        free(each);
    }
}

void graphs_outlived(CUgraphExec executable) {
    for (graph_allocation *each = left; each; each = each->next)
        if (each->of == executable) each->of = NULL;
    forget_freed();
}

/* Bytes of a card that graphs which have ended allocated and nobody has freed. */
static uint64_t outliving(CUdevice device) {
    uint64_t bytes = 0;
    forget_freed();
    for (const graph_allocation *each = left; each; each = each->next)
        if (!each->of && each->device == device) bytes += each->bytes;
    return bytes;
}

/*
 * What is reserved beyond what executable graphs use: these may yet take all that they are charged for.
 * NVIDIA does not say whether what outlived its graph is told as used. It is taken to be: if it is not, it
 * counts twice as long as other executable graphs use as much.
 */
void graphs_settle(CUdevice device) {
    if (device < 0 || device >= MOST_DEVICES || !cards[device].known) return;
    uint64_t reserved, used, live = cards[device].live, others = outliving(device);
    if (!ask_driver(device, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &reserved) ||
        !ask_driver(device, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &used))
        return;
    uint64_t theirs = used > others ? least(used - others, live) : 0;
    budget_shrink(cards[device].kept.own.card, &cards[device].kept.own.taken,
                  reserved > theirs ? reserved - theirs : 0);
}

void graphs_ended(CUdevice device, const charge *taken) {
    card_memory *card = &cards[device];
    if (!card->known) card->kept = request_on(device);
    card->known = true;
    charge_add(&card->kept.own.taken, taken);
    card->live -= charge_bytes(taken);
    graphs_settle(device);
}

bool graphs_trim(void) {
    CUresult (*trim)(CUdevice) = driver_function("cuDeviceGraphMemTrim");
    bool any = false;
    graphs_lock();
    for (int device = 0; device < MOST_DEVICES && trim; device++) {
        uint64_t before = charge_bytes(&cards[device].kept.own.taken);
        if (!before || trim(device) != CUDA_SUCCESS) continue;
        graphs_settle(device);
        any = any || charge_bytes(&cards[device].kept.own.taken) < before;
    }
    graphs_unlock();
    return any;
}

void graphs_forked(void) {
    lock_reset(&guard);
    for (int device = 0; device < MOST_DEVICES; device++) cards[device] = (card_memory){0};
    left = NULL;
}
