/*
 * Code that is loaded: which image a handle belongs to (a module, a library, a library's module in a
 * context), and which functions were found and not launched yet, since the driver may load a function only
 * then. Policy only.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct code code;
struct code {
    uint64_t handle, image; /* the image by its own handle */
    uint64_t bytes;         /* of the image */
    bool library;           /* what the image is, else a module */
    code *next;             /* of the image, in a chain of code.c or held */
    code *beside;           /* in another chain of code.c */
};

/* HANDLE is of the same image as OF, whatever it was before. */
void code_add(uint64_t handle, const code *of);

/* What is known of a handle; all zeros when nothing is. */
code code_of(uint64_t handle);

/* All that is of IMAGE, taken out before the driver unloads it, which may give its handle out again at once;
 * to be forgotten then, or put back. */
code *code_hold(uint64_t image);
void code_forget(code *held);
void code_put_back(code *held);

/* FUNCTION was found in IMAGE. */
void code_found(const void *function, uint64_t image);

/* Whether any function waits for its first launch; for every launch, so one load. */
extern _Atomic int code_waiting;

/* Take FUNCTION from those that wait; its image, or 0. */
uint64_t code_first_use(const void *function);

/* In the child of a fork. */
void code_forked(void);
