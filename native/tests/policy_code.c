/* How large images are, and what is known of code that is loaded. */
#include <pthread.h>

#include "../src/code.h"
#include "../src/image.h"
#include "policy.h"

static void put(char *at, size_t offset, uint64_t value, size_t size) { memcpy(at + offset, &value, size); }

static void an_elf_ends_with_the_later_of_its_tables(void) {
    char elf[64] = "\177ELF";
    put(elf, 40, 5000, 8), put(elf, 58, 64, 2), put(elf, 60, 10, 2);
    CHECK(image_bytes(elf) == 5640);
    put(elf, 32, 6000, 8), put(elf, 54, 56, 2), put(elf, 56, 2, 2);
    CHECK(image_bytes(elf) == 6112);
}

/* An entry of a fat binary: a head, then so many bytes. */
static size_t entry(char *at, size_t head, uint64_t packed, uint64_t unpacked) {
    put(at, 4, head, 4), put(at, 8, packed, 8);
    if (head >= 64) put(at, 56, unpacked, 8);
    return head + packed;
}

static void of_a_fat_binary_the_largest_entry_counts(void) {
    _Alignas(8) static char fat[4096], wrapper[24];
    put(fat, 0, 0xba55ed50, 4), put(fat, 6, 16, 2);
    size_t end = 16;
    end += entry(fat + end, 64, 200, 900);
    end += entry(fat + end, 72, 500, 0);
    put(fat, 8, end - 16, 8);
    put(wrapper, 0, 0x466243b1, 4), put(wrapper, 8, (uintptr_t)fat, 8);
    CHECK(image_bytes(fat) == 900 && image_bytes(wrapper) == 900);

    entry(fat + 16, 64, 200, UINT64_MAX); /* not to be believed */
    CHECK(image_bytes(fat) == 500);
    entry(fat + 16, 64, UINT64_MAX, 0); /* beyond the end */
    CHECK(image_bytes(fat) == 0);
    entry(fat + 16, 8, 200, 0); /* a head that is too short */
    CHECK(image_bytes(fat) == 0);
}

static void ptx_is_as_large_as_its_text_and_a_file_as_the_file(void) {
    CHECK(image_bytes(".version 8.0") == 13 && image_bytes("") == 1 && image_bytes(NULL) == 0);
    write_file(in_folder("image"), "12345", 5);
    CHECK(image_file_bytes(in_folder("image")) == 5);
    CHECK(image_file_bytes(in_folder("no_image")) == 0 && image_file_bytes(NULL) == 0);
}

static void handles_lead_to_their_image_until_it_is_unloaded(void) {
    code_add(1, &(code){.image = 1, .bytes = 100});
    code_add(2, &(code){.image = 1, .bytes = 100});
    code_add(3, &(code){.image = 3, .bytes = 300});
    CHECK(code_of(2).image == 1 && code_of(3).bytes == 300 && code_of(4).bytes == 0);
    code *held = code_hold(1);
    CHECK(held && code_of(1).bytes == 0 && code_of(3).bytes == 300);
    code_put_back(held); /* the driver would not unload it */
    CHECK(code_of(1).bytes == 100 && code_of(2).bytes == 100);
    code_forget(code_hold(1));
    CHECK(code_hold(1) == NULL && code_of(2).bytes == 0);
    code_add(3, &(code){.image = 4, .bytes = 400}); /* a handle that is given out again */
    CHECK(code_of(3).image == 4 && code_of(3).bytes == 400);
    CHECK(code_hold(3) == NULL);
}

static void each_of_many_handles_is_found(void) {
    enum { IMAGES = 3, MANY = 30000 };
    for (uint64_t at = 1; at <= MANY; at++) code_add(at << 8, &(code){.image = at % IMAGES, .bytes = at});
    code_forget(code_hold(1));
    for (uint64_t at = 1; at <= MANY; at++) CHECK(code_of(at << 8).bytes == (at % IMAGES == 1 ? 0 : at));
    int left = 0;
    for (const code *each = code_hold(2); each; each = each->next) left++;
    CHECK(left == MANY / IMAGES);
}

static void a_function_waits_for_its_first_launch_unless_its_image_is_unloaded(void) {
    static char functions[5000];
    CHECK(code_waiting == 0 && code_first_use(functions) == 0);
    code_add(7, &(code){.image = 7, .bytes = 700});
    code_found(&functions[0], 7);
    code_found(&functions[0], 7);
    CHECK(code_waiting == 1);
    CHECK(code_first_use(&functions[1]) == 0 && code_first_use(NULL) == 0);
    CHECK(code_first_use(&functions[0]) == 7 && code_waiting == 0);
    CHECK(code_first_use(&functions[0]) == 0);
    code_found(&functions[1], 7);
    code_forget(code_hold(7));
    CHECK(code_waiting == 0 && code_first_use(&functions[1]) == 0);
    for (size_t i = 0; i < sizeof functions; i++) code_found(&functions[i], 8); /* more than there is room */
    CHECK(code_waiting > 0 && code_waiting < (int)sizeof functions);
    code_forked();
    CHECK(code_waiting == 0 && code_of(3).bytes == 0);
}

static void *find_and_launch(void *unused) {
    static char functions[2];
    for (int i = 0; i < 200000; i++) {
        code_found(&functions[i % 2], 1);
        code_first_use(&functions[i % 2]);
    }
    for (int i = 0; i < 2; i++) code_first_use(&functions[i]);
    return unused;
}
static void what_threads_find_and_launch_at_once_waits_no_longer(void) {
    pthread_t other;
    CHECK(pthread_create(&other, NULL, find_and_launch, NULL) == 0);
    find_and_launch(NULL);
    CHECK(pthread_join(other, NULL) == 0 && code_waiting == 0);
}

void test_code(void) {
    an_elf_ends_with_the_later_of_its_tables();
    of_a_fat_binary_the_largest_entry_counts();
    ptx_is_as_large_as_its_text_and_a_file_as_the_file();
    handles_lead_to_their_image_until_it_is_unloaded();
    alone(each_of_many_handles_is_found);
    alone(a_function_waits_for_its_first_launch_unless_its_image_is_unloaded);
    alone(what_threads_find_and_launch_at_once_waits_no_longer);
}
