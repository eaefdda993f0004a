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

enum {
    CODE_BITS_q4_0 = 4,
    CODE_OFFSET_q4_0 = 8,
    SUB_BLOCK_q4_0 = 32,
    MINS_q4_0 = NO_MINS,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_q4_0 = 2, RUN_STRIDE_q4_0 = 1 };

static inline uint4 codes_q4_0(device const block_q4_0 *block, uint)
{
    return load_16_bytes(block->qs);
}

static inline float2 scale_q4_0(device const block_q4_0 *block, uint)
{
    return float2(widen(block->d), 0.0f);
}

#else

static inline void fields_q4_0(const block_q4_0 *block, block_fields *f)
{
    unpack_planes(block->qs, 16, 16, 4, f->codes);
    f->d = block->d;
}

static inline void store_q4_0(const block_fields *f, block_q4_0 *block)
{
    pack_planes(f->codes, 0, 16, 16, 4, block->qs);
    block->d = f->d;
}

#endif

#endif
