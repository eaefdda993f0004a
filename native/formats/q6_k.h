/* Q6_K: 16 sub-blocks of 16 six-bit weights, each with a signed byte for a scale;
 * y = (d scale) (q - 32).
 *
 *   byte  0                128             192            208 210
 *         | ql: 128 bytes  | qh: 64 bytes  | scales: 16   | d |
 *   ql    byte i of each 64: q(i+64) q(i)    lower four bits; 64 bytes: 128 weights
 *   qh    byte i of each 32: q(i+96) q(i+64) q(i+32) q(i)    upper two bits; 32 bytes: 128 weights
 *
 * Layout: block_q6_K of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q6_K_H
#define SMELT_FORMATS_Q6_K_H

#include "packing.h"

typedef struct {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d; /* half */
} block_q6_k;
static_assert(sizeof(block_q6_k) == BLOCK_BYTES_Q6_K, "block of Q6_K");

static inline void decode_q6_k(const block_q6_k *block, float *y)
{
    const float d = f16_to_f32(block->d);
    uint8_t low[256], high[256];

    unpack_planes(block->ql, 128, 64, 4, low);
    unpack_planes(block->qh, 64, 32, 2, high);
    for (int j = 0; j < 16; j++) {
        const float scale = d * (float)block->scales[j];
        for (int i = 16 * j; i < 16 * j + 16; i++)
            y[i] = scale * (float)((low[i] | high[i] << 4) - 32);
    }
}

#ifdef V_SIMD
enum { HAS_MINS_q6_k = 0 };
V_INLINE block_scales codes_q6_k(const void *p, vh *w, vh *mins)
{
    const block_q6_k *block = p;
    (void)mins;
    for (int half = 0; half < 2; half++) {
        const uint8_t *ql = block->ql + 64 * half;
        const int8_t *s = block->scales + 8 * half;
        vh a = vh_load_u8(ql), b = vh_load_u8(ql + 32), high = vh_load_u8(block->qh + 32 * half);
        vh nibble = vh_set(15), upper = vh_set(48), centre = vh_set(32);
        vh q[4] = {
            vh_or(vh_and(a, nibble), vh_and(vh_sll(high, 4), upper)),
            vh_or(vh_and(b, nibble), vh_and(vh_sll(high, 2), upper)),
            vh_or(vh_srl(a, 4), vh_and(high, upper)),
            vh_or(vh_srl(b, 4), vh_and(vh_srl(high, 2), upper)),
        };
        for (int j = 0; j < 4; j++)
            w[4 * half + j] = vh_mul(vh_sub(q[j], centre), vh_set2(s[2 * j], s[2 * j + 1]));
    }
    return (block_scales){v_f16(block->d), 0.0f};
}
#endif

#endif
