/* The instruction sets of this build, from the plainest to the widest. */
#ifndef SMELT_CPU_ISA_H
#define SMELT_CPU_ISA_H

#include "cpu/internal.h"

typedef struct {
    const char *name;
    int (*available)(void);
    const kernel_table *kernels;
} instruction_set;

const instruction_set *instruction_sets(int *count);

#endif
