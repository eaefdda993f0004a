/* What a step and its profile share. */
#ifndef SMELT_METAL_STEP_H
#define SMELT_METAL_STEP_H

#include "metal/plan.h"

/* Checks a step, makes room for its results and writes it where the kernels read it. A status of
 * metal_step; on STEP_OK *counts is what encode_step needs. */
int prepare_step(metal_program *program, const metal_kv *kv, const step *step, int k,
                 step_counts *counts, metal_error *error);

#endif
