/* Q5_K: 8 sub-blocks of 32 five-bit weights, each with a six-bit scale and minimum;
 * y = (d scale) q - (dmin min).
 *
 *   byte    0   2      4            16        48                    176
 *           | d | dmin | scales: 12 | qh: 32  | qs: 128 bytes       |
 *   scales  see unpack_scales_mins
 *   qs      byte i of each 32: q(i+32) q(i)    lower four bits: high nibble, low nibble
 *   qh      bit b of byte i: the fifth bit of q(i+32b)
 *
 * Layout: block_q5_K of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q5_K_H
#define SMELT_FORMATS_Q5_K_H

#include "packing.h"

typedef struct {
    uint16_t d;    /* half */
    uint16_t dmin; /* half */
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} block_q5_k;
static_assert(sizeof(block_q5_k) == BLOCK_BYTES_Q5_K, "block of Q5_K");

static inline void decode_q5_k(const block_q5_k *block, float *y)
{
    const float d = f16_to_f32(block->d);
    const float dmin = f16_to_f32(block->dmin);
    uint8_t low[256], high[256], scales[8], mins[8];

    unpack_planes(block->qs, 128, 32, 4, low);
    unpack_planes(block->qh, 32, 32, 1, high);
    unpack_scales_mins(block->scales, scales, mins);
    for (int j = 0; j < 8; j++) {
        const float scale = d * (float)scales[j];
        const float min = dmin * (float)mins[j];
        for (int i = 32 * j; i < 32 * j + 32; i++)
            y[i] = scale * (float)(low[i] | high[i] << 4) - min;
    }
}

#ifdef V_SIMD
enum { HAS_MINS_q5_k = 1 };
V_INLINE block_scales codes_q5_k(const void *p, vh *w, vh *mins)
{
    const block_q5_k *block = p;
    uint8_t scales[8], m[8];
    unpack_scales_mins(block->scales, scales, m);
    vh fifth = vh_sll(vh_load_u8(block->qh), 4);
    for (int j = 0; j < 8; j += 2) {
        vh q = vh_load_u8(block->qs + 16 * j), bit = vh_set(16);
        vh low = vh_or(vh_and(q, vh_set(15)), vh_and(fifth, bit));
        vh high = vh_or(vh_srl(q, 4), vh_and(vh_srl(fifth, 1), bit));
        w[j] = vh_mul(low, vh_set(scales[j]));
        w[j + 1] = vh_mul(high, vh_set(scales[j + 1]));
        fifth = vh_srl(fifth, 2);
    }
    *mins = minima_of_32(m);
    return (block_scales){v_f16(block->d), v_f16(block->dmin)};
}
#endif

#endif
