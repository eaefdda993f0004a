/* What the attention kernels share: their sizes, and the weight of a score. */
#ifndef SMELT_ATTENTION_H
#define SMELT_ATTENTION_H

#include "kernel_args.h"

enum {
    MAX_HEAD_DIM = 256, /* sizes arrays of registers, which function constants cannot */
};

/* exp(score - maximum): the weight of a position, or what earlier sums shrink by when the maximum
 * grows. -inf is a position that is not seen, or the maximum of none: 0 also where the maximum is
 * -inf. */
static inline float softmax_weight(float score, float maximum)
{
    return score == -INFINITY ? 0.0f : metal::precise::exp(score - maximum);
}

#endif
