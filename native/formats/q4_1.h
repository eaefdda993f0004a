/* Q4_1: 32 nibbles with a scale and an offset; y = d q + m.
 *
 *   byte  0   2   4                      20
 *         | d | m | qs: 16 bytes         |
 *   qs    byte i: q(i+16) q(i)                high nibble, low nibble
 *
 * Layout: block_q4_1 of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q4_1_H
#define SMELT_FORMATS_Q4_1_H

#include "packing.h"

typedef struct {
    uint16_t d; /* half */
    uint16_t m; /* half */
    uint8_t qs[16];
} block_q4_1;
static_assert(sizeof(block_q4_1) == BLOCK_BYTES_Q4_1, "block of Q4_1");

static inline void decode_q4_1(const block_q4_1 *block, float *y)
{
    const float d = f16_to_f32(block->d);
    const float m = f16_to_f32(block->m);
    uint8_t q[32];

    unpack_planes(block->qs, 16, 16, 4, q);
    for (int i = 0; i < 32; i++)
        y[i] = d * (float)q[i] + m;
}

#ifdef V_SIMD
enum { HAS_MINS_q4_1 = 1 };
V_INLINE block_scales codes_q4_1(const void *p, vh *w, vh *mins)
{
    const block_q4_1 *block = p;
    w[0] = vh_load_nibbles(block->qs);
    *mins = vh_load_u8_half(minima_of_one);
    return (block_scales){v_f16(block->d), -v_f16(block->m)};
}
#endif

#endif
