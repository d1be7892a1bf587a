/* Memory of other interfaces and processes. It is counted where it was allocated: nothing is taken of the
 * card. */
#include <stdlib.h>

#include "cuda_memory.h"

struct CUextMemory_st {
    uint64_t size;
};

CUDA_API CUresult cuImportExternalMemory(CUexternalMemory *memory,
                                         const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *d) {
    CUDA_ENTER_CONTEXT(context, memory && d && d->size);
    (void)context;
    *memory = malloc(sizeof **memory);
    if (!*memory) return CUDA_ERROR_OUT_OF_MEMORY;
    (*memory)->size = d->size;
    return CUDA_SUCCESS;
}
CUDA_API CUresult cuDestroyExternalMemory(CUexternalMemory memory) {
    CUDA_ENTER(memory);
    free(memory);
    return CUDA_SUCCESS;
}
