/* Q2_K: 16 sub-blocks of 16 two-bit weights, each with a four-bit scale and minimum;
 * y = (d scale) q - (dmin min).
 *
 *   byte    0              16                 80  82     84
 *           | scales: 16   | qs: 64 bytes     | d | dmin |
 *   scales  byte j: min(j) scale(j)                high nibble, low nibble
 *   qs      byte i of each 32: q(i+96) q(i+64) q(i+32) q(i)    two bits each; 32 bytes: 128 weights
 *
 * Layout: block_q2_K of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q2_K_H
#define SMELT_FORMATS_Q2_K_H

#include "packing.h"

typedef struct {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d;    /* half */
    uint16_t dmin; /* half */
} block_q2_k;
static_assert(sizeof(block_q2_k) == BLOCK_BYTES_Q2_K, "block of Q2_K");

static inline void decode_q2_k(const block_q2_k *block, float *y)
{
    const float d = f16_to_f32(block->d);
    const float dmin = f16_to_f32(block->dmin);
    uint8_t q[256];

    unpack_planes(block->qs, 64, 32, 2, q);
    for (int j = 0; j < 16; j++) {
        const float scale = d * (float)(block->scales[j] & 15);
        const float min = dmin * (float)(block->scales[j] >> 4);
        for (int i = 16 * j; i < 16 * j + 16; i++)
            y[i] = scale * (float)q[i] - min;
    }
}

#ifdef V_SIMD
enum { HAS_MINS_q2_k = 1 };
V_INLINE block_scales codes_q2_k(const void *p, vh *w, vh *mins)
{
    const block_q2_k *block = p;
    for (int half = 0; half < 2; half++) {
        vh q = vh_load_u8(block->qs + 32 * half);
        const uint8_t *s = block->scales + 8 * half;
        for (int j = 0; j < 4; j++) {
            vh scale = vh_set2(s[2 * j] & 15, s[2 * j + 1] & 15);
            w[4 * half + j] = vh_mul(vh_and(q, vh_set(3)), scale);
            q = vh_srl(q, 2);
        }
    }
    *mins = vh_srl(vh_load_u8_half(block->scales), 4);
    return (block_scales){v_f16(block->d), v_f16(block->dmin)};
}
#endif

#endif
