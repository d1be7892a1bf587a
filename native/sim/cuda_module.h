/* Modules and libraries, which here are the same but for when they know their context. */
#pragma once

#include "cuda_core.h"

struct CUfunc_st {
    char name[128];
    CUmodule module;
    CUfunction next;
    unsigned block[3];    /* set on the function, as before CUDA 4 */
    char parameters[256]; /* the same */
};

/* Takes the memory of a function's code when no function of its image ran yet. */
CUresult cuda_code_use(CUfunction function);

/* The code that was loaded into a context ends with it. */
void cuda_code_end(CUcontext context);
