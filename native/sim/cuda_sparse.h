/* What is mapped into sparse arrays. */
#pragma once

#include "cuda_core.h"

/* An array that holds only what is mapped into it, until it ends, by itself or with its context. */
void cuda_sparse_begin(const void *array, CUcontext owner);

void cuda_sparse_end(const void *array);
void cuda_sparse_context_end(CUcontext owner);
