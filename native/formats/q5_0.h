/* Q5_0: 32 five-bit weights times one scale, centred at 16; y = d (q - 16).
 *
 *   byte  0   2       6                      22
 *         | d | qh: 4 | qs: 16 bytes         |
 *   qs    byte i: q(i+16) q(i)                    lower four bits: high nibble, low nibble
 *   qh    bit i, from the lowest: the fifth bit of q(i)
 *
 * Layout: block_q5_0 of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q5_0_H
#define SMELT_FORMATS_Q5_0_H

#include "packing.h"

typedef struct {
    uint16_t d; /* half */
    uint8_t qh[4];
    uint8_t qs[16];
} block_q5_0;
static_assert(sizeof(block_q5_0) == BLOCK_BYTES_Q5_0, "block of Q5_0");

static inline void decode_q5_0(const block_q5_0 *block, float *y)
{
    const float d = f16_to_f32(block->d);
    uint8_t low[32], high[32];

    unpack_planes(block->qs, 16, 16, 4, low);
    unpack_planes(block->qh, 4, 1, 1, high);
    for (int i = 0; i < 32; i++)
        y[i] = d * (float)((low[i] | high[i] << 4) - 16);
}

#ifdef V_SIMD
enum { HAS_MINS_q5_0 = 0 };
V_INLINE block_scales codes_q5_0(const void *p, vh *w, vh *mins)
{
    const block_q5_0 *block = p;
    uint32_t fifth;
    (void)mins;
    memcpy(&fifth, block->qh, sizeof fifth);
    w[0] = vh_sub(vh_or(vh_load_nibbles(block->qs), vh_bits(fifth, 16)), vh_set(16));
    return (block_scales){v_f16(block->d), 0.0f};
}
#endif

#endif
