/* What is mapped into sparse arrays. */
#pragma once

/* The array ends, and lets go of it. */
void cuda_sparse_end(const void *array);
