/* Q5_0: 32 five-bit weights times one scale, centred at 16; y = d (q - 16).
 *
 *   byte  0   2       6                      22
 *         | d | qh: 4 | qs: 16 bytes         |
 *   qs    byte i: q(i+16) q(i)                    lower four bits: high nibble, low nibble
 *   qh    bit i, from the lowest: the fifth bit of q(i)
 *
 * Layout: block_q5_0 of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q5_0_H
#define SMELT_FORMATS_Q5_0_H

#include "packing.h"

typedef struct {
    uint16_t d; /* half */
    uint8_t qh[4];
    uint8_t qs[16];
} block_q5_0;
static_assert(sizeof(block_q5_0) == BLOCK_BYTES_Q5_0, "block of Q5_0");

enum {
    CODE_BITS_q5_0 = 5,
    CODE_OFFSET_q5_0 = 16,
    SUB_BLOCK_q5_0 = 32,
    MINS_q5_0 = NO_MINS,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_q5_0 = 2, RUN_STRIDE_q5_0 = 1 };

static inline uint4 codes_q5_0(device const block_q5_0 *block, uint run)
{
    const uint high = load_4_bytes(block->qh) >> 16 * run;
    const uint4 low = load_16_bytes(block->qs) >> 4 * run & 0x0f0f0f0fu;
    return low | spread_bits(uint4(high, high >> 4, high >> 8, high >> 12)) << 4;
}

static inline float2 scale_q5_0(device const block_q5_0 *block, uint)
{
    return float2(widen(block->d), 0.0f);
}

#else

static inline void fields_q5_0(const block_q5_0 *block, block_fields *f)
{
    uint8_t high[32];

    unpack_planes(block->qs, 16, 16, 4, f->codes);
    unpack_planes(block->qh, 4, 1, 1, high);
    put_above(f->codes, high, 32, 4);
    f->d = block->d;
}

static inline void store_q5_0(const block_fields *f, block_q5_0 *block)
{
    pack_planes(f->codes, 0, 16, 16, 4, block->qs);
    pack_planes(f->codes, 4, 4, 1, 1, block->qh);
    block->d = f->d;
}

#endif

#endif
