/*
 * dlsym cannot tell us where the C library's dlsym is: we export that name ourselves, and other tools do,
 * too. So the library's own table of symbols is read, as the loader reads it (GNU hash; glibc has had it
 * since 2.5).
 */
#include "libc_symbols.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const ElfW(Sym) * symbols;
    const char *names;
    const uint32_t *hash;
} table;

static bool read_table(const struct dl_phdr_info *library, table *found) {
    *found = (table){0};
    for (int i = 0; i < library->dlpi_phnum; i++) {
        if (library->dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
        const ElfW(Dyn) *each = (const void *)(library->dlpi_addr + library->dlpi_phdr[i].p_vaddr);
        for (; each->d_tag != DT_NULL; each++) {
            const void *at = elf_address(library->dlpi_addr, each->d_un.d_ptr);
            if (each->d_tag == DT_SYMTAB) found->symbols = at;
            if (each->d_tag == DT_STRTAB) found->names = at;
            if (each->d_tag == DT_GNU_HASH) found->hash = at;
        }
    }
    return found->symbols && found->names && found->hash;
}

static uint32_t hash_of(const char *name) {
    uint32_t hash = 5381;
    for (; *name; name++) hash = hash * 33 + (unsigned char)*name;
    return hash;
}

static const ElfW(Sym) * find(const table *in, const char *name) {
    uint32_t buckets = in->hash[0], first = in->hash[1], bloom_words = in->hash[2], hash = hash_of(name);
    const uint32_t *bucket = in->hash + 4 + bloom_words * (sizeof(ElfW(Addr)) / 4), *chain = bucket + buckets;
    uint32_t index = buckets ? bucket[hash % buckets] : 0;
    if (index < first) return NULL;
    for (;; index++) {
        const ElfW(Sym) *symbol = &in->symbols[index];
        uint32_t other = chain[index - first];
        if ((other | 1) == (hash | 1) && symbol->st_shndx != SHN_UNDEF &&
            !strcmp(in->names + symbol->st_name, name))
            return symbol;
        if (other & 1) return NULL;
    }
}

typedef struct {
    const char *name;
    void *found;
} wanted;

/* glibc's three and musl's one, which is the loader as well. */
static bool is_libc(const char *name) {
    static const char *const names[] = {"libc.so", "libpthread.so.0", "libdl.so.2", "ld-musl-", "libc.musl-"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(name, names[i], strlen(names[i])) == 0) return true;
    return false;
}

static int look(struct dl_phdr_info *library, size_t size, void *argument) {
    (void)size;
    wanted *what = argument;
    table in;
    const char *path = library->dlpi_name, *base = path ? strrchr(path, '/') : NULL;
    base = base ? base + 1 : path;
    if (!base || !is_libc(base) || !read_table(library, &in)) return 0;
    const ElfW(Sym) *symbol = find(&in, what->name);
    if (symbol) what->found = (void *)(library->dlpi_addr + symbol->st_value);
    return what->found != NULL;
}

void *libc_symbol(const char *name) {
    wanted what = {name, NULL};
    dl_iterate_phdr(look, &what);
    return what.found;
}
