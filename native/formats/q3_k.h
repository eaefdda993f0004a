/* Q3_K: 16 sub-blocks of 16 three-bit weights, each with a six-bit scale;
 * y = d (scale - 32) (q - 4).
 *
 *   byte    0             32               96           108 110
 *           | hmask: 32   | qs: 64 bytes   | scales: 12 | d |
 *   qs      byte i of each 32: q(i+96) q(i+64) q(i+32) q(i)   lower two bits; 32 bytes: 128 weights
 *   hmask   bit b of byte i: the third bit of q(i+32b)
 *   scales  byte j < 8:  scale(j+8) scale(j)                         lower four bits each
 *           byte 8 + k:  scale(k+12) scale(k+8) scale(k+4) scale(k)  upper two bits each
 *
 * Layout: block_q3_K and dequantize_row_q3_K of ggml.
 */
#ifndef SMELT_FORMATS_Q3_K_H
#define SMELT_FORMATS_Q3_K_H

#include "packing.h"

typedef struct {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d; /* half */
} block_q3_k;
static_assert(sizeof(block_q3_k) == BLOCK_BYTES_Q3_K, "block of Q3_K");

static inline void decode_q3_k(const block_q3_k *block, float *y)
{
    const float d = f16_to_f32(block->d);
    uint8_t low[256], high[256], scale_low[16], scale_high[16];

    unpack_planes(block->qs, 64, 32, 2, low);
    unpack_planes(block->hmask, 32, 32, 1, high);
    unpack_planes(block->scales, 8, 8, 4, scale_low);
    unpack_planes(block->scales + 8, 4, 4, 2, scale_high);
    for (int j = 0; j < 16; j++) {
        const float scale = d * (float)((scale_low[j] | scale_high[j] << 4) - 32);
        for (int i = 16 * j; i < 16 * j + 16; i++)
            y[i] = scale * (float)((low[i] | high[i] << 2) - 4);
    }
}

#ifdef V_SIMD
enum { HAS_MINS_q3_k = 0 };
V_INLINE block_scales codes_q3_k(const void *p, vh *w, vh *mins)
{
    const block_q3_k *block = p;
    uint8_t low[16], high[16];
    (void)mins;
    unpack_planes(block->scales, 8, 8, 4, low);
    unpack_planes(block->scales + 8, 4, 4, 2, high);
    vh third = vh_sll(vh_load_u8(block->hmask), 2);
    for (int half = 0; half < 2; half++) {
        vh q = vh_load_u8(block->qs + 32 * half);
        for (int j = 0; j < 4; j++) {
            int s = 8 * half + 2 * j;
            vh scale = vh_set2((int16_t)((low[s] | high[s] << 4) - 32),
                               (int16_t)((low[s + 1] | high[s + 1] << 4) - 32));
            vh code = vh_or(vh_and(q, vh_set(3)), vh_and(third, vh_set(4)));
            w[4 * half + j] = vh_mul(vh_sub(code, vh_set(4)), scale);
            q = vh_srl(q, 2);
            third = vh_srl(third, 1);
        }
    }
    return (block_scales){v_f16(block->d), 0.0f};
}
#endif

#endif
