#include "image.h"

#include <string.h>
#include <sys/stat.h>

#include "numbers.h"

/* The first bytes of a fat binary, and of what the compiler leaves in a program to point to one. */
static const uint32_t FAT_MAGIC = 0xba55ed50, WRAPPER_MAGIC = 0x466243b1;

/* An entry that says it is larger once unpacked is not believed. */
static const uint64_t MOST = UINT64_C(4) << 30;

/* Images need not be aligned. */
#define READ(type, from, offset)                                                                             \
    ({                                                                                                       \
        type value;                                                                                          \
        memcpy(&value, (const char *)(from) + (offset), sizeof value);                                       \
        value;                                                                                               \
    })

/* ELF, 64 bits: it ends with the later of its two tables. */
static uint64_t elf_bytes(const void *elf) {
    uint64_t segments = READ(uint64_t, elf, 32) + (uint64_t)READ(uint16_t, elf, 54) * READ(uint16_t, elf, 56);
    uint64_t sections = READ(uint64_t, elf, 40) + (uint64_t)READ(uint16_t, elf, 58) * READ(uint16_t, elf, 60);
    return most(segments, sections);
}

/* A head of 16 bytes and more, then entries, each with a head that says how long both are. */
static uint64_t fat_bytes(const void *fat) {
    const char *at = (const char *)fat + READ(uint16_t, fat, 6);
    uint64_t left = READ(uint64_t, fat, 8), largest = 0;
    while (left >= 64) {
        uint64_t head = READ(uint32_t, at, 4), packed = READ(uint64_t, at, 8);
        uint64_t unpacked = head >= 64 ? READ(uint64_t, at, 56) : 0;
        if (head < 16 || head > left || packed > left - head) break;
        largest = most(largest, most(packed, unpacked < MOST ? unpacked : 0));
        at += head + packed;
        left -= head + packed;
    }
    return largest;
}

uint64_t image_bytes(const void *image) {
    if (!image) return 0;
    if (strncmp(image, "\177ELF", 4) == 0) return elf_bytes(image);
    if (strnlen(image, 4) < 4) return strlen(image) + 1;
    uint32_t magic = READ(uint32_t, image, 0);
    if (magic == WRAPPER_MAGIC) return image_bytes(READ(const void *, image, 8));
    return magic == FAT_MAGIC ? fat_bytes(image) : strlen(image) + 1;
}

uint64_t image_file_bytes(const char *path) {
    struct stat status;
    return path && stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}
