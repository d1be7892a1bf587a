/*
 * Code. How much of the card an image takes is the driver's affair, and when: at once, or when a function of
 * it is first found or launched (lazy loading, usual since CUDA 12.2). So wherever it may load, as much as
 * the image is large is reserved before, less what was taken for it already; afterwards the charge is what
 * this process holds more by the driver's word, of that.
 */
#include "hook_module.h"

#include "failpoint.h"
#include "image.h"

static bool loads_lazily(void) {
    enum { LAZY = 2 };
    static _Atomic int known; /* plus one; 0: not asked yet */
    CUresult (*get_mode)(int *) = known ? NULL : driver_function("cuModuleGetLoadingMode");
    int mode = 0;
    if (!known) known = (get_mode && get_mode(&mode) == CUDA_SUCCESS ? mode : 0) + 1;
    return known == LAZY + 1;
}

/* A library is loaded into each context for itself. */
static uint64_t key_of(uint64_t image, uint64_t context) {
    return image ^ (context * UINT64_C(0x9e3779b97f4a7c15));
}

/* Reserve for code that takes at most ONCE bytes in one call, and its image in all; false when there is no
 * room. */
static bool begin(loading *self, const code *of, uint64_t once) {
    *self = (loading){.asked = request_in_context(), .of = *of};
    if (self->asked.state != CARD_LIMITED || WRONG(FREE_CODE)) return true;
    self->key = key_of(of->image, self->asked.own.owner);
    if (of->image) self->held = hold(CHARGE_CODE, self->key);
    uint64_t has = self->held.found ? charge_bytes(&self->held.what.taken) : 0, whole = in_pages(of->bytes);
    if (has >= whole || once == 0) return true;
    if (!ask(&self->asked, least(whole - has, once))) {
        let_go(CUDA_ERROR_OUT_OF_MEMORY, &self->held, CHARGE_CODE, self->key);
        return false;
    }
    self->used = nvml_used_bytes(self->asked.own.card->device);
    return true;
}

/* One figure at both moments, as in contexts.c; all that was RESERVED where nothing is known. */
static uint64_t grown(nvml_used before, nvml_used after, uint64_t reserved) {
    bool listed = before.process && after.process;
    uint64_t from = listed ? before.process : before.card, to = listed ? after.process : after.card;
    if (!from || !to) return reserved;
    return to > from ? least(to - from, reserved) : 0;
}

/* Charge what the call took. */
static CUresult end(loading *self, CUresult result) {
    if (self->asked.state != CARD_LIMITED) return result;
    charged *own = &self->asked.own;
    uint64_t reserved = charge_bytes(&own->taken), took = 0;
    if (reserved && result == CUDA_SUCCESS)
        took = grown(self->used, nvml_used_bytes(own->card->device), reserved);
    budget_shrink(own->card, &own->taken, took);
    if (self->held.found) charge_add(&own->taken, &self->held.what.taken);
    if (charge_bytes(&own->taken) == 0) return result;
    self->key = key_of(self->of.image, own->owner);
    held_charge others = hold(CHARGE_CODE, self->key); /* who have loaded of it at the same moment, too */
    if (others.found) charge_add(&own->taken, &others.what.taken);
    budget_shrink(own->card, &own->taken, in_pages(self->of.bytes));
    code_add(self->key, &self->of);
    settle(&self->asked, CUDA_SUCCESS, CHARGE_CODE, self->key);
    return result;
}

/* What a lazy driver takes in one call: one function of many, which differ in size. All where it does not
 * say. */
static uint64_t piece(const code *of) {
    const char *counts = of->library ? "cuLibraryGetKernelCount" : "cuModuleGetFunctionCount";
    CUresult (*count)(unsigned int *, uint64_t) = driver_function(counts);
    unsigned int functions = 1;
    if (!count || count(&functions, of->image) != CUDA_SUCCESS || functions == 0) functions = 1;
    return functions == 1 ? UINT64_MAX : most(in_pages(of->bytes / functions * 4), UINT64_C(4) << 20);
}

/* Body of what loads an image, of a lazy driver without its code. */
#define LOAD(symbol, is_library, place, size, ...)                                                           \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        if (!cards_are_limited() || !(place)) return real(__VA_ARGS__);                                      \
        code fresh = {.bytes = size, .library = is_library};                                                 \
        loading self;                                                                                        \
        if (!begin(&self, &fresh, loads_lazily() ? 0 : UINT64_MAX)) return CUDA_ERROR_OUT_OF_MEMORY;         \
        CUresult result = real(__VA_ARGS__);                                                                 \
        self.of.image = fresh.image = result == CUDA_SUCCESS ? (uint64_t)*(place) : 0;                       \
        if (fresh.image) code_add(fresh.image, &fresh);                                                      \
        return end(&self, result);                                                                           \
    } while (0)

CUresult cuModuleLoad(CUmodule *module, const char *path) {
    LOAD(cuModuleLoad, false, module, image_file_bytes(path), module, path);
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    LOAD(cuModuleLoadData, false, module, image_bytes(image), module, image);
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int count, int *options,
                            void **values) {
    LOAD(cuModuleLoadDataEx, false, module, image_bytes(image), module, image, count, options, values);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image) {
    LOAD(cuModuleLoadFatBinary, false, module, image_bytes(image), module, image);
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *image, int *jit, void **jit_values,
                           unsigned int jit_count, int *options, void **values, unsigned int count) {
    LOAD(cuLibraryLoadData, true, library, image_bytes(image), library, image, jit, jit_values, jit_count,
         options, values, count);
}

CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *path, int *jit, void **jit_values,
                               unsigned int jit_count, int *options, void **values, unsigned int count) {
    LOAD(cuLibraryLoadFromFile, true, library, image_file_bytes(path), library, path, jit, jit_values,
         jit_count, options, values, count);
}

/* All that was taken for an image, in every context, goes back when it is unloaded. */
#define UNLOAD(symbol, gone)                                                                                 \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        code *held = code_hold((uint64_t)(gone));                                                            \
        CUresult result = real(gone);                                                                        \
        if (result != CUDA_SUCCESS) {                                                                        \
            code_put_back(held);                                                                             \
            return result;                                                                                   \
        }                                                                                                    \
        for (const code *each = held; each; each = each->next) {                                             \
            held_charge taken = hold(CHARGE_CODE, each->handle);                                             \
            let_go(result, &taken, CHARGE_CODE, each->handle);                                               \
        }                                                                                                    \
        code_forget(held);                                                                                   \
        return result;                                                                                       \
    } while (0)

CUresult cuModuleUnload(CUmodule module) { UNLOAD(cuModuleUnload, module); }
CUresult cuLibraryUnload(CUlibrary library) { UNLOAD(cuLibraryUnload, library); }

/* Body of what finds something in the code of HANDLE, which a lazy driver may load then. */
#define FIND(symbol, handle, remember, ...)                                                                  \
    do {                                                                                                     \
        symbol##_type real = REAL(symbol);                                                                   \
        if (!real) return CUDA_ERROR_NOT_FOUND;                                                              \
        code of = cards_are_limited() ? code_of((uint64_t)(handle)) : (code){0};                             \
        if (!of.bytes) return real(__VA_ARGS__);                                                             \
        loading self;                                                                                        \
        if (!begin(&self, &of, piece(&of))) return CUDA_ERROR_OUT_OF_MEMORY;                                 \
        CUresult result = end(&self, real(__VA_ARGS__));                                                     \
        if (result == CUDA_SUCCESS) remember;                                                                \
        return result;                                                                                       \
    } while (0)

/* A function that was found may be loaded when it is first launched. */
static void found(const void *function, const code *of) {
    if (!function || !loads_lazily()) return;
    code_add((uint64_t)function, of);
    code_found(function, of->image);
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    FIND(cuModuleGetFunction, module, found(*function, &of), function, module, name);
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *pointer, size_t *size, CUmodule module, const char *name) {
    FIND(cuModuleGetGlobal_v2, module, (void)0, pointer, size, module, name);
}

CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library) {
    FIND(cuLibraryGetModule, library, code_add((uint64_t)*module, &of), module, library);
}

CUresult cuLibraryGetGlobal(CUdeviceptr *pointer, size_t *size, CUlibrary library, const char *name) {
    FIND(cuLibraryGetGlobal, library, (void)0, pointer, size, library, name);
}

/* A kernel is of no context, so this loads nothing. */
CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
    cuLibraryGetKernel_type real = REAL(cuLibraryGetKernel);
    if (!real) return CUDA_ERROR_NOT_FOUND;
    CUresult result = real(kernel, library, name);
    code of = result == CUDA_SUCCESS ? code_of((uint64_t)library) : (code){0};
    if (of.bytes) found(*kernel, &of);
    return result;
}

CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel) {
    FIND(cuKernelGetFunction, kernel, found(*function, &of), function, kernel);
}

CUresult cuFuncLoad(CUfunction function) { FIND(cuFuncLoad, function, (void)0, function); }

bool module_begins_launch(loading *self, const void *function) {
    uint64_t image = code_first_use(function);
    code of = image ? code_of(image) : (code){0};
    if (!of.bytes) return true;
    bool fits = begin(self, &of, piece(&of));
    self->function = function;
    if (!fits) code_found(function, image); /* it may be tried again */
    return fits;
}

void module_ends_launch(loading *self, CUresult result) {
    if (!self->function) return;
    end(self, result);
    if (result != CUDA_SUCCESS) code_found(self->function, self->of.image);
}
