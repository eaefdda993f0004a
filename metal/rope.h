/* The turning of a head by its position (RoPE), element by element, for rope and rope_kv_write. */
#ifndef SMELT_ROPE_H
#define SMELT_ROPE_H

#include "kernel_args.h"

/* A head that is normalised on its way (rms_norm.metal says by what): x [head_dim], gain [head_dim]. */
struct normed_head {
    device const float *x;
    device const float *gain;
    float inverse; /* 1 / sqrt(mean(x^2) + eps) */

    float operator[](int d) const { return x[d] * inverse * gain[d]; }
};

/* All lanes of a simdgroup call, each for the pairs (2i, 2i + 1) with i = lane, lane + 32, ... */
static inline normed_head norm_head(device const float *x, device const float *gain, int head_dim,
                                    float eps, uint lane)
{
    float squares = 0.0f;
    for (int d = 2 * (int)lane; d < head_dim; d += 2 * SIMD_WIDTH)
        squares = metal::fma(x[d], x[d], metal::fma(x[d + 1], x[d + 1], squares));
    squares = metal::simd_sum(squares);
    const normed_head head = {x, gain, 1.0f / metal::precise::sqrt(squares / (float)head_dim + eps)};
    return head;
}

/* Element d of a turned head. x: [head_dim], a pointer or a normed_head; table: (cos, sin) of each
 * pair of the first rotary_dim dimensions, which are pairs (2i, 2i + 1), or with `neox` (i, i +
 * rotary_dim / 2); others stay. (a, b) becomes (a cos - b sin, a sin + b cos), rounded as on the
 * CPU. */
template <typename T>
static inline float rope_element(T x, device const float2 *table, constant attention_args &args,
                                 int d)
{
    if (d >= args.rotary_dim) return x[d];
    const int n_pairs = args.rotary_dim / 2;
    const bool second = args.neox ? d >= n_pairs : d % 2 == 1;
    const int pair = args.neox ? d - (second ? n_pairs : 0) : d / 2;
    const float a = x[args.neox ? pair : 2 * pair];
    const float b = x[args.neox ? pair + n_pairs : 2 * pair + 1];
    const float2 turn = table[pair];
    return second ? metal::fma(a, turn.y, b * turn.x) : metal::fma(a, turn.x, -(b * turn.y));
}

/* Elements 2i and 2i + 1. */
template <typename T>
static inline float2 rope_pair(T x, device const float2 *table, constant attention_args &args,
                               int i)
{
    return float2(rope_element(x, table, args, 2 * i), rope_element(x, table, args, 2 * i + 1));
}

#endif
