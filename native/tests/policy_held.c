/* Memory that is held by more than handles and mappings: descriptors, multicast objects, other processes. */
#include "../src/physical.h"
#include "policy.h"

/* Two shares of one card, for memory that is held in ways of its own. */
static budget *card_of_shares(const char *folder) {
    char shares[512], why[512];
    snprintf(shares, sizeof shares, "%s", in_folder(folder));
    add_share(shares, "a", "GPU-x", 64 * MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    return budget_of("GPU-x");
}

static void create(uint64_t handle, int device, budget *card, uint64_t bytes) {
    charge taken;
    CHECK(budget_reserve(card, bytes, &taken) == 0);
    physical_created(handle, device, card, &taken);
}

static void release(uint64_t handle) { physical_released(handle, physical_use(handle)); }
static void export(uint64_t handle, int descriptor) {
    physical *used = physical_use(handle);
    physical_exported(used, descriptor);
    physical_let_go(used);
}

static void bound_memory_is_charged_until_it_is_unbound_or_its_object_ends(void) {
    budget *card = card_of_shares("bound");
    physical_holder(1);
    create(2, 0, card, MIB);
    create(3, 1, card, 2 * MIB);
    physical_bound(1, -1, 0, MIB, 2);
    physical_bound(1, 1, 0, 2 * MIB, 3);
    physical_bound(1, -1, 0, MIB, 77); /* not ours */
    release(2);
    release(3);
    CHECK(budget_usage(card) == 3 * MIB);
    CHECK(!physical_unbind(1, 2, 0, MIB) && !physical_unbind(77, 0, 0, MIB));
    physical_bind_again(1, physical_unbind(1, 0, 0, MIB)); /* the driver would not */
    CHECK(budget_usage(card) == 3 * MIB);
    physical_unbound(physical_unbind(1, 0, 0, MIB));
    CHECK(budget_usage(card) == 2 * MIB);
    physical_mapped(0x1000, 0x1000, physical_use(1)); /* the object itself */
    release(1);
    CHECK(budget_usage(card) == 2 * MIB);
    physical_unmapped(0x1000, 0x1000, physical_moment());
    CHECK(budget_usage(card) == 0);

    physical_holder(4);
    for (uint64_t handle = 5; handle <= 6; handle++) { /* two pieces in one range */
        create(handle, 0, card, MIB);
        physical_mapped(handle * 0x1000, 0x1000, physical_use(handle));
        release(handle);
    }
    physical_bound_at(4, -1, 0, 0x3000, 0x5000);
    physical_unmapped(0x5000, 0x2000, physical_moment());
    CHECK(budget_usage(card) == 2 * MIB);
    release(4);
    CHECK(budget_usage(card) == 0);
}

/* The file stands for the driver's device. */
static int new_descriptor(const char *path) { return open(path, O_RDWR | O_CREAT, 0666); }

static bool comes_to(budget *card, uint64_t bytes) {
    for (int i = 0; i < 3000 && budget_usage(card) != bytes; i++) usleep(10000);
    return budget_usage(card) == bytes;
}

static void exported_memory_is_charged_until_its_last_descriptor_is_closed(void) {
    const char *file = in_folder("device");
    budget *card = card_of_shares("exported");
    create(1, 0, card, MIB);
    int one = new_descriptor(file), other = new_descriptor(file), copy;
    export(1, one);
    export(1, other);
    export(9, one); /* not ours */
    release(1);
    close(one);
    CHECK(!physical_settle() && budget_usage(card) == MIB);
    CHECK((copy = dup(other)) >= 0);
    close(other);
    CHECK(!physical_settle() && budget_usage(card) == MIB);
    physical_imported(2, copy);
    close(copy);
    CHECK(!physical_settle() && budget_usage(card) == MIB); /* a second handle, where it was made */
    release(2);
    CHECK(budget_usage(card) == 0);

    create(3, 0, card, MIB);
    one = new_descriptor(file);
    export(3, one);
    release(3);
    close(one);
    CHECK(physical_settle() && budget_usage(card) == 0);

    create(4, 0, card, MIB); /* seen by itself, as nobody may call again */
    one = new_descriptor(file);
    export(4, one);
    release(4);
    CHECK(budget_usage(card) == MIB);
    close(one);
    CHECK(comes_to(card, 0));

    create(5, 0, card, MIB); /* what takes no lock for writing is not followed */
    CHECK((one = open(file, O_WRONLY)) >= 0);
    export(5, one);
    physical_imported(6, one);
    physical_imported(7, -1);
    export(5, -1);
    release(5);
    CHECK(budget_usage(card) == 0);
    CHECK(physical_use(6) == NULL && physical_use(7) == NULL);
}

/* What the two processes below tell each other. */
typedef struct {
    _Atomic int step;
} talk;

static void await(talk *between, int step) {
    for (int i = 0; i < 3000 && between->step < step; i++) usleep(10000);
    CHECK(between->step >= step);
}

static void an_object_of_two_processes_holds_until_both_have_let_go(void) {
    talk *between = shared_memory(sizeof *between);
    budget *card = card_of_shares("team");
    int descriptor = new_descriptor(in_folder("device"));
    pid_t other = fork(); /* before anything was exported, as a program of its own would be */
    if (other == 0) {
        await(between, 1);
        physical_imported(1, descriptor);
        close(descriptor);
        between->step = 2;
        await(between, 3);
        release(1);
        exit(0);
    }
    physical_holder(1);
    export(1, descriptor);
    between->step = 1;
    await(between, 2);
    create(2, 0, card, MIB);
    physical_bound(1, -1, 0, MIB, 2);
    release(2);
    close(descriptor);
    release(1);
    CHECK(!physical_settle() && budget_usage(card) == MIB);
    between->step = 3;
    ends_well(other);
    CHECK(comes_to(card, 0));
}

static void an_object_that_cannot_be_followed_keeps_what_is_bound_to_it(void) {
    budget *card = card_of_shares("unfollowed");
    physical_holder(1); /* 2 came here by a handle that is no descriptor */
    for (uint64_t object = 1; object <= 2; object++) {
        uint64_t kept = (object - 1) * MIB;
        for (int times = 0; times < 2; times++) {
            create(3, 0, card, MIB);
            physical_bound(object, 0, 0, MIB, 3);
            release(3);
            CHECK(budget_usage(card) == kept + MIB);
            if (times == 0) physical_unbound(physical_unbind(object, 0, 0, MIB));
            if (times == 0) CHECK(budget_usage(card) == kept);
        }
        export(object, -1);
        release(object);
        CHECK(!physical_settle() && budget_usage(card) == kept + MIB);
    }
}

void test_held(void) {
    alone(bound_memory_is_charged_until_it_is_unbound_or_its_object_ends);
    alone(exported_memory_is_charged_until_its_last_descriptor_is_closed);
    alone(an_object_of_two_processes_holds_until_both_have_let_go);
    alone(an_object_that_cannot_be_followed_keeps_what_is_bound_to_it);
}
