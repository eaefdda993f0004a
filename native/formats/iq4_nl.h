/* IQ4_NL: 32 nibbles that index sixteen unevenly spaced levels, times one scale; y = d values[q].
 *
 *   byte  0   2                      18
 *         | d | qs: 16 bytes         |
 *   qs    byte i: q(i+16) q(i)            high nibble, low nibble
 *
 * Layout: block_iq4_nl of ggml-common.h; the levels are iq4_values.
 */
#ifndef SMELT_FORMATS_IQ4_NL_H
#define SMELT_FORMATS_IQ4_NL_H

#include "packing.h"

typedef struct {
    uint16_t d; /* half */
    uint8_t qs[16];
} block_iq4_nl;
static_assert(sizeof(block_iq4_nl) == BLOCK_BYTES_IQ4_NL, "block of IQ4_NL");

static inline void decode_iq4_nl(const block_iq4_nl *block, float *y)
{
    const float d = f16_to_f32(block->d);
    uint8_t q[32];

    unpack_planes(block->qs, 16, 16, 4, q);
    for (int i = 0; i < 32; i++)
        y[i] = d * (float)iq4_values[q[i]];
}

#ifdef V_SIMD
enum { HAS_MINS_iq4_nl = 0 };
V_INLINE block_scales codes_iq4_nl(const void *p, vh *w, vh *mins)
{
    const block_iq4_nl *block = p;
    (void)mins;
    w[0] = vh_lookup(iq4_values, vh_load_nibbles(block->qs));
    return (block_scales){v_f16(block->d), 0.0f};
}
#endif

#endif
