/* Cases of the device's tests: each is a function that uses Metal, rightly or with one planted
 * mistake, and is run in a process of its own (main.m), which prints what was reported. */
#ifndef CASES_H
#define CASES_H

#import <Metal/Metal.h>

#include <Block.h>
#include <stdio.h>

#include "softmetal.h"

typedef struct case_entry {
    const char *name;
    void (*run)(void);
    struct case_entry *next;
} case_entry;
extern case_entry *all_cases;

#define CASE(title)                                                                                \
    static void title(void);                                                                       \
    __attribute__((constructor)) static void add_##title(void)                                     \
    {                                                                                              \
        static case_entry entry = {#title, title, NULL};                                           \
        entry.next = all_cases;                                                                    \
        all_cases = &entry;                                                                        \
    }                                                                                              \
    static void title(void)

/* Made by main.m before a case and released after it. */
extern id<MTLDevice> device;
extern id<MTLCommandQueue> queue;

id<MTLLibrary> kernels(void); /* of kernels.metal */
void check_accesses(void);    /* before anything else: kernels() are those of the checked mode */

/* Autoreleased. Constants 0 (int) and 1 (bool) of kernels.metal are 0 and false. */
id<MTLComputePipelineState> pipeline(const char *name);
id<MTLBuffer> floats(int n, float value); /* shared */
float at(id<MTLBuffer> buffer, int index);

/* A command buffer and its encoder, or all that is left to do with them: end, commit, wait. */
id<MTLComputeCommandEncoder> begin(id<MTLCommandBuffer> commands);
void finish(id<MTLCommandBuffer> commands, id<MTLComputeCommandEncoder> encoder);

/* Sets what `axpy` (y[i] = a x[i] + y[i] + bias, constant 0) needs. */
void set_axpy(id<MTLComputeCommandEncoder> encoder, float a, id<MTLBuffer> x, id<MTLBuffer> y);
void dispatch(id<MTLComputeCommandEncoder> encoder, int groups, int threads);

/* Prints "name value" for the test to read. */
void say(const char *name, double value);
void say_text(const char *name, const char *text);
void say_error(const char *name, NSError *error); /* "name code text" */

#endif
