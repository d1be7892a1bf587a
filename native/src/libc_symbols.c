/*
 * dlsym cannot tell us where the C library's dlsym is: we export that name ourselves, and other tools do,
 * too. So the library's own table of symbols is read, as the loader reads it (GNU hash; glibc has had it
 * since 2.5). Sanitizers look symbols up when their own strcmp, dl_iterate_phdr and others cannot be called
 * yet, so nothing that they stand before is called until libc itself was looked into.
 */
#include "libc_symbols.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/auxv.h>

typedef struct {
    const ElfW(Sym) * symbols;
    const char *names;
    const uint32_t *hash;
} table;

static bool read_table(ElfW(Addr) base, const ElfW(Dyn) * each, table *found) {
    *found = (table){0};
    for (; each->d_tag != DT_NULL; each++) {
        const void *at = elf_address(base, each->d_un.d_ptr);
        if (each->d_tag == DT_SYMTAB) found->symbols = at;
        if (each->d_tag == DT_STRTAB) found->names = at;
        if (each->d_tag == DT_GNU_HASH) found->hash = at;
    }
    return found->symbols && found->names && found->hash;
}

static bool begins_with(const char *name, const char *beginning, bool whole) {
    for (; *beginning; name++, beginning++)
        if (*name != *beginning) return false;
    return !whole || !*name;
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
            begins_with(in->names + symbol->st_name, name, true))
            return symbol;
        if (other & 1) return NULL;
    }
}

typedef struct {
    const char *name;
    void *found;
} wanted;

/* glibc's three and musl's one, which is the loader as well. */
static const char *const names[] = {"libc.so", "libpthread.so.0", "libdl.so.2", "ld-musl-", "libc.musl-"};
static bool is_libc(const char *name) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (begins_with(name, names[i], false)) return true;
    return false;
}

static const char *base_name(const char *path) {
    const char *base = path;
    for (const char *at = path; *at; at++)
        if (*at == '/') base = at + 1;
    return base;
}

static bool look_into(ElfW(Addr) base, const ElfW(Dyn) * dynamic, wanted *what) {
    table in;
    if (!read_table(base, dynamic, &in)) return false;
    const ElfW(Sym) *symbol = find(&in, what->name);
    if (symbol) what->found = (void *)(base + symbol->st_value);
    return symbol != NULL;
}

static const ElfW(Dyn) * dynamic_part(ElfW(Addr) base, const ElfW(Phdr) * parts, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (parts[i].p_type == PT_DYNAMIC) return (const void *)(base + parts[i].p_vaddr);
    return NULL;
}

/* What debuggers read: the list of what is loaded, as the program's own dynamic section tells it. */
static const struct link_map *first_loaded(void) {
    const ElfW(Phdr) *parts = (const void *)getauxval(AT_PHDR);
    size_t count = parts ? getauxval(AT_PHNUM) : 0;
    ElfW(Addr) base = 0;
    for (size_t i = 0; i < count; i++)
        if (parts[i].p_type == PT_PHDR) base = (ElfW(Addr))parts - parts[i].p_vaddr;
    const ElfW(Dyn) *each = dynamic_part(base, parts, count);
    while (each && each->d_tag != DT_DEBUG && each->d_tag != DT_NULL) each++;
    const struct r_debug *told = each && each->d_tag == DT_DEBUG ? (const void *)each->d_un.d_ptr : NULL;
    return told ? told->r_map : NULL;
}

/* No further than to libc: what comes behind it may be closed by another thread meanwhile. */
static void look_as_far_as_libc(wanted *what) {
    for (const struct link_map *each = first_loaded(); each; each = each->l_next) {
        const char *name = base_name(each->l_name);
        if (!is_libc(name)) continue;
        if (look_into(each->l_addr, each->l_ld, what) || begins_with(name, names[0], false)) return;
    }
}

static int look(struct dl_phdr_info *library, size_t size, void *argument) {
    (void)size;
    ElfW(Addr) base = library->dlpi_addr;
    const ElfW(Dyn) *dynamic = dynamic_part(base, library->dlpi_phdr, library->dlpi_phnum);
    const char *path = library->dlpi_name;
    return dynamic && path && is_libc(base_name(path)) && look_into(base, dynamic, argument);
}

void *libc_symbol(const char *name) {
    wanted what = {name, NULL};
    look_as_far_as_libc(&what);
    if (!what.found) dl_iterate_phdr(look, &what);
    return what.found;
}
