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

enum {
    CODE_BITS_iq4_xs = 4,
    CODE_OFFSET_iq4_xs = IQ4_OFFSET,
    SUB_BLOCK_iq4_xs = 32,
    MINS_iq4_xs = NO_MINS,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_iq4_xs = 2, RUN_STRIDE_iq4_xs = 1 };

static inline uint4 codes_iq4_xs(device const block_iq4_xs *block, uint run)
{
    return load_16_bytes(block->qs + 16 * (run / 2));
}

static inline float2 scale_iq4_xs(device const block_iq4_xs *block, uint run)
{
    const uint j = run / 2;
    const uint low = block->scales_l[j / 2] >> 4 * (j % 2) & 15u;
    const uint high = block->scales_h[j / 4] >> 2 * (j % 4) & 3u;
    return float2(widen(block->d) * float(int(low | high << 4) - 32), 0.0f);
}

#else

static inline void fields_iq4_xs(const block_iq4_xs *block, block_fields *f)
{
    uint8_t low_scales[8], high_scales[8];

    unpack_planes(block->qs, 128, 16, 4, f->codes);
    unpack_planes(block->scales_l, 4, 1, 4, low_scales);
    unpack_planes(block->scales_h, 2, 1, 2, high_scales);
    for (int j = 0; j < 8; j++)
        f->scales[j] = (int8_t)((low_scales[j] | high_scales[j] << 4) - 32);
    f->d = block->d;
}

#endif

#endif
