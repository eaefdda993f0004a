/* IQ4_XS: 8 sub-blocks of 32 nibbles that index the levels of IQ4_NL, each with a six-bit scale;
 * y = d (scale - 32) values[q].
 *
 *   byte      0   2          4            8                     136
 *             | d | scales_h | scales_l:4 | qs: 128 bytes       |
 *   scales_l  nibble j, from the lowest: the lower four bits of scale(j)
 *   scales_h  bits 2j and 2j+1, from the lowest: the upper two bits of scale(j)
 *   qs        byte i of each 16: q(i+16) q(i)    high nibble, low nibble; 16 bytes: 32 weights
 *
 * Layout: block_iq4_xs of ggml-common.h; the levels are iq4_values.
 */
#ifndef SMELT_FORMATS_IQ4_XS_H
#define SMELT_FORMATS_IQ4_XS_H

#include "packing.h"

typedef struct {
    uint16_t d; /* half */
    uint8_t scales_h[2];
    uint8_t scales_l[4];
    uint8_t qs[128];
} block_iq4_xs;
static_assert(sizeof(block_iq4_xs) == BLOCK_BYTES_IQ4_XS, "block of IQ4_XS");

static inline void decode_iq4_xs(const block_iq4_xs *block, float *y)
{
    const float d = f16_to_f32(block->d);
    uint8_t q[256], scale_low[8], scale_high[8];

    unpack_planes(block->qs, 128, 16, 4, q);
    unpack_planes(block->scales_l, 4, 1, 4, scale_low);
    unpack_planes(block->scales_h, 2, 1, 2, scale_high);
    for (int j = 0; j < 8; j++) {
        const float scale = d * (float)((scale_low[j] | scale_high[j] << 4) - 32);
        for (int i = 32 * j; i < 32 * j + 32; i++)
            y[i] = scale * (float)iq4_values[q[i]];
    }
}

#ifdef V_SIMD
enum { HAS_MINS_iq4_xs = 0 };
V_INLINE block_scales codes_iq4_xs(const void *p, vh *w, vh *mins)
{
    const block_iq4_xs *block = p;
    uint8_t low[8], high[8];
    (void)mins;
    unpack_planes(block->scales_l, 4, 1, 4, low);
    unpack_planes(block->scales_h, 2, 1, 2, high);
    for (int j = 0; j < 8; j++) {
        vh scale = vh_set((int16_t)((low[j] | high[j] << 4) - 32));
        w[j] = vh_mul(vh_lookup(iq4_values, vh_load_nibbles(block->qs + 16 * j)), scale);
    }
    return (block_scales){v_f16(block->d), 0.0f};
}
#endif

#endif
