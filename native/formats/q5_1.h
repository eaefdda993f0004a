/* Q5_1: 32 five-bit weights with a scale and an offset; y = d q + m.
 *
 *   byte  0   2   4       8                      24
 *         | d | m | qh: 4 | qs: 16 bytes         |
 *   qs    byte i: q(i+16) q(i)                        lower four bits: high nibble, low nibble
 *   qh    bit i, from the lowest: the fifth bit of q(i)
 *
 * Layout: block_q5_1 of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q5_1_H
#define SMELT_FORMATS_Q5_1_H

#include "packing.h"

typedef struct {
    uint16_t d; /* half */
    uint16_t m; /* half */
    uint8_t qh[4];
    uint8_t qs[16];
} block_q5_1;
static_assert(sizeof(block_q5_1) == BLOCK_BYTES_Q5_1, "block of Q5_1");

static inline void decode_q5_1(const block_q5_1 *block, float *y)
{
    const float d = f16_to_f32(block->d);
    const float m = f16_to_f32(block->m);
    uint8_t low[32], high[32];

    unpack_planes(block->qs, 16, 16, 4, low);
    unpack_planes(block->qh, 4, 1, 1, high);
    for (int i = 0; i < 32; i++)
        y[i] = d * (float)(low[i] | high[i] << 4) + m;
}

#ifdef V_SIMD
enum { HAS_MINS_q5_1 = 1 };
V_INLINE block_scales codes_q5_1(const void *p, vh *w, vh *mins)
{
    const block_q5_1 *block = p;
    uint32_t fifth;
    memcpy(&fifth, block->qh, sizeof fifth);
    w[0] = vh_or(vh_load_nibbles(block->qs), vh_bits(fifth, 16));
    *mins = vh_load_u8_half(minima_of_one);
    return (block_scales){v_f16(block->d), -v_f16(block->m)};
}
#endif

#endif
