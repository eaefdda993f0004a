/* What the attention kernels share: the weight of a score, and how parts of a context add up. */
#ifndef SMELT_ATTENTION_H
#define SMELT_ATTENTION_H

#include "constants.h"

/* exp(score - maximum): the weight of a position, or what earlier sums shrink by when the maximum
 * grows. -inf is a position that is not seen, or the maximum of none: 0 also where the maximum is
 * -inf. */
static inline float softmax_weight(float score, float maximum)
{
    return score == -INFINITY ? 0.0f : metal::precise::exp(score - maximum);
}

/* Results of parts of a context, brought to a common maximum and added. */
struct merged {
    float maximum, sum;
    float2 out;

    void add(float2 total, float2 part)
    {
        const float weight = softmax_weight(total.x, maximum);
        sum = metal::fma(weight, total.y, sum);
        out = metal::fma(float2(weight), part, out);
    }
};

/* partial, as pairs: [n_singles, n_heads, n_splits, head_dim / 2 + 1], the sums of weighted values
 * and then (maximum, sum of weights). */
static inline size_t partial_row(constant step_args &step, constant attention_args &args,
                                 uint single, uint head)
{
    return ((size_t)single * (uint)args.n_heads + head) * (uint)step.n_splits;
}

#endif
