/* Q4_0: 32 nibbles times one scale, centred at 8; y = d (q - 8).
 *
 *   byte  0   2                      18
 *         | d | qs: 16 bytes         |
 *   qs    byte i: q(i+16) q(i)            high nibble, low nibble
 *
 * Layout: block_q4_0 of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q4_0_H
#define SMELT_FORMATS_Q4_0_H

#include "packing.h"

typedef struct {
    uint16_t d; /* half */
    uint8_t qs[16];
} block_q4_0;
static_assert(sizeof(block_q4_0) == BLOCK_BYTES_Q4_0, "block of Q4_0");

static inline void decode_q4_0(const block_q4_0 *block, float *y)
{
    const float d = f16_to_f32(block->d);
    uint8_t q[32];

    unpack_planes(block->qs, 16, 16, 4, q);
    for (int i = 0; i < 32; i++)
        y[i] = d * (float)(q[i] - 8);
}

#ifdef V_SIMD
enum { HAS_MINS_q4_0 = 0 };
V_INLINE block_scales codes_q4_0(const void *p, vh *w, vh *mins)
{
    const block_q4_0 *block = p;
    (void)mins;
    w[0] = vh_sub(vh_load_nibbles(block->qs), vh_set(8));
    return (block_scales){v_f16(block->d), 0.0f};
}
#endif

#endif
