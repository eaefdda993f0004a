/* Q5_K: 8 sub-blocks of 32 five-bit weights, each with a six-bit scale and minimum;
 * y = (d scale) q - (dmin min).
 *
 *   byte    0   2      4            16        48                    176
 *           | d | dmin | scales: 12 | qh: 32  | qs: 128 bytes       |
 *   scales  see unpack_scales_mins
 *   qs      byte i of each 32: q(i+32) q(i)    lower four bits: high nibble, low nibble
 *   qh      bit b of byte i: the fifth bit of q(i+32b)
 *
 * Layout: block_q5_K of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q5_K_H
#define SMELT_FORMATS_Q5_K_H

#include "packing.h"

typedef struct {
    uint16_t d;    /* half */
    uint16_t dmin; /* half */
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} block_q5_k;
static_assert(sizeof(block_q5_k) == BLOCK_BYTES_Q5_K, "block of Q5_K");

enum {
    CODE_BITS_q5_k = 5,
    CODE_OFFSET_q5_k = 0,
    SUB_BLOCK_q5_k = 32,
    MINS_q5_k = MINS_SUBTRACTED,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_q5_k = 2, RUN_STRIDE_q5_k = 2 };

static inline uint4 codes_q5_k(device const block_q5_k *block, uint run)
{
    const uint part = 16 * (run % 2);
    const uint4 low = load_16_bytes(block->qs + 32 * (run / 4) + part) >> 4 * (run / 2 % 2);
    const uint4 high = load_16_bytes(block->qh + part) >> run / 2;
    return (low & 0x0f0f0f0fu) | (high & 0x01010101u) << 4;
}

static inline float2 scale_q5_k(device const block_q5_k *block, uint run)
{
    return scale_and_min(&block->d, run / 2);
}

#else

static inline void fields_q5_k(const block_q5_k *block, block_fields *f)
{
    uint8_t high[256];

    unpack_planes(block->qs, 128, 32, 4, f->codes);
    unpack_planes(block->qh, 32, 32, 1, high);
    put_above(f->codes, high, 256, 4);
    unpack_scales_mins(block->scales, f->scales, f->mins);
    f->d = block->d;
    f->m = block->dmin;
}

static inline void store_q5_k(const block_fields *f, block_q5_k *block)
{
    pack_planes(f->codes, 0, 128, 32, 4, block->qs);
    pack_planes(f->codes, 4, 32, 32, 1, block->qh);
    pack_scales_mins(f->scales, f->mins, block->scales);
    block->d = f->d;
    block->dmin = f->m;
}

#endif

#endif
