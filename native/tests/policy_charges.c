/* What was taken for what. */
#include "../src/charges.h"
#include "../src/physical.h"
#include "policy.h"

static uint64_t ended;
static void count_ended(uint64_t key, const charged *what) {
    CHECK(key == what->taken.bytes[0] * 512);
    ended++;
}

static void charges_come_back_once_and_as_they_were_put(void) {
    budget card = {.count = 1};
    charged got;
    for (uint64_t key = 1; key <= 5000; key++)
        CHECK(charges_put(CHARGE_POINTER, key * 512, &(charged){&card, key % 3, {{key}}, false, 0}) == 0);
    CHECK(charges_put(CHARGE_CONTEXT, 512, &(charged){&card, 0, {{77}}, false, 0}) ==
          0); /* another kind, the same value */
    for (uint64_t key = 1; key <= 5000; key += 2) {
        CHECK(charges_take(CHARGE_POINTER, key * 512, &got) && got.taken.bytes[0] == key &&
              got.card == &card);
        CHECK(!charges_take(CHARGE_POINTER, key * 512, &got));
    }
    CHECK(charges_take(CHARGE_CONTEXT, 512, &got) && got.taken.bytes[0] == 77);
    CHECK(!charges_take(CHARGE_ARRAY, 1024, &got));
    charges_hand_over(2, 5);
    charges_end(2, count_ended);
    CHECK(ended == 0);
    charges_hand_over(5, 2);
    charges_end(1, count_ended);
    CHECK(ended == 833); /* of the even keys those that leave 1 when divided by 3 */
    for (uint64_t key = 2; key <= 5000; key += 2)
        CHECK(charges_take(CHARGE_POINTER, key * 512, &got) == (key % 3 != 1));
    charges_put(CHARGE_POINTER, 1, &got);
    charges_forked();
    CHECK(!charges_take(CHARGE_POINTER, 1, &got));
}

static void release(uint64_t handle) { physical_released(handle, physical_use(handle)); }

static void mapped_memory_is_charged_until_its_last_handle_and_mapping(void) {
    char shares[512], why[512];
    charge taken;
    snprintf(shares, sizeof shares, "%s", in_folder("physical"));
    add_share(shares, "a", "GPU-x", 8 * MIB, "");
    add_share(shares, "b", "GPU-x", 8 * MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    budget *card = budget_of("GPU-x");
    CHECK(budget_reserve(card, 10 * MIB, &taken) == 0);
    ledger_holder holders[2];
    CHECK(budget_holders(card, holders, 2) == 1 && holders[0].pid == (uint32_t)getpid());
    CHECK(holders[0].bytes == 10 * MIB); /* of both shares */

    physical_created(1, 0, card, &taken);
    physical_mapped(0x1000, 0x1000, physical_use(1));
    physical_mapped(0x2000, 0x1000, physical_use(1));
    physical_mapped(0x9000, 0x1000, physical_use(2)); /* not ours: imported */
    release(2);
    release(1);
    CHECK(physical_use(1) == NULL && budget_usage(card) == 10 * MIB);
    physical_add_handle(3, physical_use_at(0x2800));
    physical_add_handle(3, physical_use_at(0x2800));
    physical_add_handle(4, physical_use_at(0x9800));
    physical_unmapped(0x1000, 0x2000, physical_moment());
    release(3);
    CHECK(budget_usage(card) == 10 * MIB);
    physical_let_go(physical_use(3)); /* the driver would not release it */
    CHECK(budget_usage(card) == 10 * MIB);
    release(3);
    CHECK(budget_usage(card) == 0);

    for (uint64_t handle = 5; handle <= 6; handle++) { /* as soon as the driver has unmapped the one */
        uint64_t before = physical_moment();
        CHECK(budget_reserve(card, handle * MIB, &taken) == 0);
        physical_created(handle, 0, card, &taken);
        physical_mapped(0x1000, 0x1000, physical_use(handle));
        release(handle);
        physical_unmapped(0x1000, 0x1000, before);
        CHECK(budget_usage(card) == handle * MIB);
    }
    physical_unmapped(0x1000, 0x1000, physical_moment());
    CHECK(budget_usage(card) == 0);
    CHECK(budget_reserve(card, MIB, &taken) == 0);
    physical_created(5, 0, card, &taken);
    physical_forked();
    CHECK(physical_use(5) == NULL);
}

static void memory_that_other_threads_release_or_unmap_meanwhile_is_charged_as_long_as_it_is_there(void) {
    char shares[512], why[512];
    charge taken;
    snprintf(shares, sizeof shares, "%s", in_folder("meanwhile"));
    add_share(shares, "a", "GPU-x", 8 * MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    budget *card = budget_of("GPU-x");
    CHECK(budget_reserve(card, MIB, &taken) == 0);
    physical_created(1, 0, card, &taken);
    physical *mapping = physical_use(1);
    release(1);
    physical_mapped(0x1000, 0x1000, mapping);
    CHECK(budget_usage(card) == MIB);
    physical *retaining = physical_use_at(0x1000);
    physical_unmapped(0x1000, 0x1000, physical_moment());
    physical_add_handle(1, retaining);
    CHECK(budget_usage(card) == MIB);

    for (uint64_t page = 0; page < 7; page++) physical_mapped(0x1000 * page, 0x1000, physical_use(1));
    release(1);
    uint64_t moment =
        physical_moment(); /* the driver unmaps all of it, and another thread maps there again */
    CHECK(budget_reserve(card, 2 * MIB, &taken) == 0);
    physical_created(1, 0, card, &taken);
    physical_mapped(0x3000, 0x1000, physical_use(1));
    CHECK(budget_usage(card) == 3 * MIB);
    physical_unmapped(0, 0x7000, moment);
    CHECK(budget_usage(card) == 2 * MIB && physical_use_at(0x2000) == NULL);
    physical_unmapped(0x3000, 0x1000, physical_moment());
    CHECK(budget_usage(card) == 2 * MIB && physical_use_at(0x3000) == NULL);

    physical *releasing = physical_use(1); /* and the driver gives its value out again */
    CHECK(budget_reserve(card, 4 * MIB, &taken) == 0);
    physical_created(1, 0, card, &taken);
    physical_released(1, releasing);
    CHECK(budget_usage(card) == 4 * MIB);
    release(1);
    CHECK(budget_usage(card) == 0);
}

static void what_was_at_an_address_that_the_driver_gives_out_again_is_given_back(void) {
    char shares[512], why[512];
    snprintf(shares, sizeof shares, "%s", in_folder("again"));
    add_share(shares, "a", "GPU-x", 8 * MIB, "");
    CHECK(budget_load(shares, why, sizeof why) == SHARES_USABLE);
    budget *card = budget_of("GPU-x");
    charged one = {.card = card, .owner = 1}, other = {.card = card, .owner = 2}, got;
    CHECK(budget_reserve(card, MIB, &one.taken) == 0 && budget_reserve(card, 2 * MIB, &other.taken) == 0);
    CHECK(charges_put(CHARGE_POINTER, 512, &one) == 0 && charges_put(CHARGE_POINTER, 512, &other) == 0);
    CHECK(budget_usage(card) == 2 * MIB);
    CHECK(charges_take(CHARGE_POINTER, 512, &got) && got.owner == 2);
}

static void code_that_threads_load_at_once_adds_up(void) {
    budget card = {.count = 1};
    charged got;
    for (uint64_t bytes = 1; bytes <= 2; bytes++)
        CHECK(charges_put(CHARGE_CODE, 512, &(charged){.card = &card, .taken = {{bytes}}}) == 0);
    CHECK(charges_take(CHARGE_CODE, 512, &got) && got.taken.bytes[0] == 3);
    CHECK(!charges_take(CHARGE_CODE, 512, &got));
}

void test_charges(void) {
    code_that_threads_load_at_once_adds_up();
    charges_come_back_once_and_as_they_were_put();
    alone(memory_that_other_threads_release_or_unmap_meanwhile_is_charged_as_long_as_it_is_there);
    alone(what_was_at_an_address_that_the_driver_gives_out_again_is_given_back);
    alone(mapped_memory_is_charged_until_its_last_handle_and_mapping);
}
