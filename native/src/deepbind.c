/*
 * A library that is opened with RTLD_DEEPBIND, as Taichi opens its own, finds names in itself and in what it
 * is linked to before any preload, so that its calls would pass us by. All else that the flag is for stays as
 * it is: only what the library imports of the names that we export is turned to us, once it is loaded.
 *
 * What its constructors call is past by then. A library that is found by its bare name is left alone, as
 * where libc looks depends on who asks: that must be a tail call.
 */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libc_symbols.h"
#include "symbols.h"

#if defined __aarch64__
enum { WORD = R_AARCH64_ABS64, DATA = R_AARCH64_GLOB_DAT, CALL = R_AARCH64_JUMP_SLOT };
#else
enum { WORD = R_X86_64_64, DATA = R_X86_64_GLOB_DAT, CALL = R_X86_64_JUMP_SLOT };
#endif

/* What is told by a library's dynamic section. */
typedef struct {
    ElfW(Addr) base;
    const ElfW(Sym) * symbols;
    const char *names;
    struct {
        const ElfW(Rela) * first;
        size_t bytes;
    } data, calls;
} imports;

static imports read_imports(const struct link_map *library) {
    imports found = {.base = library->l_addr};
    for (const ElfW(Dyn) *each = library->l_ld; each->d_tag != DT_NULL; each++) {
        const void *at = elf_address(library->l_addr, each->d_un.d_ptr);
        switch (each->d_tag) {
        case DT_SYMTAB:
            found.symbols = at;
            break;
        case DT_STRTAB:
            found.names = at;
            break;
        case DT_RELA:
            found.data.first = at;
            break;
        case DT_RELASZ:
            found.data.bytes = each->d_un.d_val;
            break;
        case DT_JMPREL:
            found.calls.first = at;
            break;
        case DT_PLTRELSZ:
            found.calls.bytes = each->d_un.d_val;
            break;
        }
    }
    return found;
}

static bool is_in(const void *address, ElfW(Addr) base) {
    Dl_info info;
    return dladdr(address, &info) && info.dli_fbase == (void *)base;
}

/* The loader may have closed the page after it had filled it. */
static void write_word(void **place, void *value, bool closed) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *begin = (void *)((uintptr_t)place & ~(page - 1));
    if (closed && mprotect(begin, page, PROT_READ | PROT_WRITE) != 0) return;
    __atomic_store_n(place, value, __ATOMIC_RELEASE);
    if (closed) mprotect(begin, page, PROT_READ);
}

typedef struct {
    ElfW(Addr) base;
    const void *place;
    bool closed;
} question;

static int look_for_closed(struct dl_phdr_info *library, size_t size, void *argument) {
    (void)size;
    question *asked = argument;
    if (library->dlpi_addr != asked->base) return 0;
    for (int i = 0; i < library->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &library->dlpi_phdr[i];
        ElfW(Addr) at = (ElfW(Addr))asked->place - asked->base - part->p_vaddr;
        if (part->p_type == PT_GNU_RELRO && at < part->p_memsz) asked->closed = true;
    }
    return 1;
}

static bool is_closed(const void *place, ElfW(Addr) base) {
    question asked = {base, place, false};
    dl_iterate_phdr(look_for_closed, &asked);
    return asked.closed;
}

/* A name that the library has itself is meant to be its own; one that is neither libc's nor the driver's, nor
 * yet to be found at its first call, is another tool's. */
static void turn(const imports *library, const ElfW(Rela) * first, size_t bytes) {
    for (const ElfW(Rela) *each = first; each < first + bytes / sizeof *each; each++) {
        unsigned type = ELF64_R_TYPE(each->r_info);
        const ElfW(Sym) *symbol = &library->symbols[ELF64_R_SYM(each->r_info)];
        if ((type != WORD && type != DATA && type != CALL) || symbol->st_shndx != SHN_UNDEF) continue;
        const char *name = library->names + symbol->st_name;
        void **place = (void **)(library->base + each->r_offset), *ours = exported_function(name);
        if (!ours || !*place || *place == ours) continue; /* nothing: a weak one that nobody has */
        if (*place == exported_function_of_others(name) || is_in(*place, library->base))
            write_word(place, ours, is_closed(place, library->base));
    }
}

/* With glibc a handle is the library's own link in the chain of all; those that came with it follow it. */
void turn_to_us(void *handle) {
    for (const struct link_map *each = handle; each; each = each->l_next) {
        imports found = read_imports(each);
        if (!found.symbols || !found.names) continue;
        turn(&found, found.data.first, found.data.bytes);
        turn(&found, found.calls.first, found.calls.bytes);
    }
}
