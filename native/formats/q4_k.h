/* Q4_K: 8 sub-blocks of 32 four-bit weights, each with a six-bit scale and minimum;
 * y = (d scale) q - (dmin min).
 *
 *   byte    0   2      4            16                    144
 *           | d | dmin | scales: 12 | qs: 128 bytes       |
 *   scales  see unpack_scales_mins
 *   qs      byte i of each 32: q(i+32) q(i)    high nibble, low nibble; 32 bytes: 64 weights
 *
 * Layout: block_q4_K of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q4_K_H
#define SMELT_FORMATS_Q4_K_H

#include "packing.h"

typedef struct {
    uint16_t d;    /* half */
    uint16_t dmin; /* half */
    uint8_t scales[12];
    uint8_t qs[128];
} block_q4_k;
static_assert(sizeof(block_q4_k) == BLOCK_BYTES_Q4_K, "block of Q4_K");

static inline void decode_q4_k(const block_q4_k *block, float *y)
{
    const float d = f16_to_f32(block->d);
    const float dmin = f16_to_f32(block->dmin);
    uint8_t q[256], scales[8], mins[8];

    unpack_planes(block->qs, 128, 32, 4, q);
    unpack_scales_mins(block->scales, scales, mins);
    for (int j = 0; j < 8; j++) {
        const float scale = d * (float)scales[j];
        const float min = dmin * (float)mins[j];
        for (int i = 32 * j; i < 32 * j + 32; i++)
            y[i] = scale * (float)q[i] - min;
    }
}

#ifdef V_SIMD
enum { HAS_MINS_q4_k = 1 };
V_INLINE block_scales codes_q4_k(const void *p, vh *w, vh *mins)
{
    const block_q4_k *block = p;
    uint8_t scales[8], m[8];
    unpack_scales_mins(block->scales, scales, m);
    for (int j = 0; j < 8; j += 2) {
        vh q = vh_load_u8(block->qs + 16 * j);
        w[j] = vh_mul(vh_and(q, vh_set(15)), vh_set(scales[j]));
        w[j + 1] = vh_mul(vh_srl(q, 4), vh_set(scales[j + 1]));
    }
    *mins = minima_of_32(m);
    return (block_scales){v_f16(block->d), v_f16(block->dmin)};
}
#endif

#endif
