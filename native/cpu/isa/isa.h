/* The instruction sets of this build, from the plainest to the widest. */
#ifndef SMELT_CPU_ISA_H
#define SMELT_CPU_ISA_H

#include "cpu/internal.h"

/* Something that the processor has, or that the system saves when it switches threads. */
typedef struct {
    const char *name; /* as the makers' manuals call it */
    int where, part;  /* see isa.c */
    uint32_t bits;    /* all of which must be set there */
} feature;

enum { MOST_NEEDS = 13 };
typedef struct {
    const char *name;
    const kernel_table *kernels;
    const feature *needs[MOST_NEEDS]; /* NULL behind the last */
} instruction_set;

const instruction_set *instruction_sets(int *count);
/* What makers have that no set of this build uses (docs/kernels.md says why). */
const feature *unused_features(int *count);
void look_at_caches(void); /* sets prefetch_into_l2 and l2_bytes */
int feature_is_here(const feature *f);
int instruction_set_is_here(const instruction_set *set);

#endif
