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

enum {
    CODE_BITS_iq4_nl = 4,
    CODE_OFFSET_iq4_nl = IQ4_OFFSET,
    SUB_BLOCK_iq4_nl = 32,
    MINS_iq4_nl = NO_MINS,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_iq4_nl = 2, RUN_STRIDE_iq4_nl = 1 };

static inline uint4 codes_iq4_nl(device const block_iq4_nl *block, uint)
{
    return load_16_bytes(block->qs);
}

static inline float2 scale_iq4_nl(device const block_iq4_nl *block, uint)
{
    return float2(widen(block->d), 0.0f);
}

#else

static inline void fields_iq4_nl(const block_iq4_nl *block, block_fields *f)
{
    unpack_planes(block->qs, 16, 16, 4, f->codes);
    f->d = block->d;
}

#endif

#endif
