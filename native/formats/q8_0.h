/* Q8_0: 32 signed bytes times one scale; y = d q.
 *
 *   byte  0   2                              34
 *         | d | q0 q1 q2 ...             q31 |
 *
 * Layout: block_q8_0 of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q8_0_H
#define SMELT_FORMATS_Q8_0_H

#include "packing.h"

typedef struct {
    uint16_t d;    /* half */
    int8_t qs[32]; /* q */
} block_q8_0;
static_assert(sizeof(block_q8_0) == BLOCK_BYTES_Q8_0, "block of Q8_0");

static inline void decode_q8_0(const block_q8_0 *block, float *y)
{
    const float d = f16_to_f32(block->d);

    for (int i = 0; i < 32; i++)
        y[i] = d * (float)block->qs[i];
}

#ifdef V_SIMD
enum { HAS_MINS_q8_0 = 0 };
V_INLINE block_scales codes_q8_0(const void *p, vh *w, vh *mins)
{
    const block_q8_0 *block = p;
    (void)mins;
    w[0] = vh_load_i8(block->qs);
    return (block_scales){v_f16(block->d), 0.0f};
}
#endif

#endif
