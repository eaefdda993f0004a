/* Q4_K: 8 sub-blocks of 32 four-bit weights, each with a six-bit scale and minimum;
 * y = (d scale) q - (dmin min).
 *
 *   byte    0   2      4            16                    144
 *           | d | dmin | scales: 12 | qs: 128 bytes       |
 *   scales  see unpack_scales_mins
 *   qs      byte i of each 32: q(i+32) q(i)    high nibble, low nibble; 32 bytes: 64 weights
 *
 * Layout: block_q4_K of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q4_K_H
#define SMELT_FORMATS_Q4_K_H

#include "packing.h"

typedef struct {
    uint16_t d;    /* half */
    uint16_t dmin; /* half */
    uint8_t scales[12];
    uint8_t qs[128];
} block_q4_k;
static_assert(sizeof(block_q4_k) == BLOCK_BYTES_Q4_K, "block of Q4_K");

enum {
    CODE_BITS_q4_k = 4,
    CODE_OFFSET_q4_k = 0,
    SUB_BLOCK_q4_k = 32,
    MINS_q4_k = MINS_SUBTRACTED,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_q4_k = 2, RUN_STRIDE_q4_k = 2 };

static inline uint4 codes_q4_k(device const block_q4_k *block, uint run)
{
    return load_16_bytes(block->qs + 32 * (run / 4) + 16 * (run % 2));
}

static inline float2 scale_q4_k(device const block_q4_k *block, uint run)
{
    return scale_and_min(&block->d, run / 2);
}

#else

static inline void fields_q4_k(const block_q4_k *block, block_fields *f)
{
    unpack_planes(block->qs, 128, 32, 4, f->codes);
    unpack_scales_mins(block->scales, f->scales, f->mins);
    f->d = block->d;
    f->m = block->dmin;
}

static inline void store_q4_k(const block_fields *f, block_q4_k *block)
{
    pack_planes(f->codes, 0, 128, 32, 4, block->qs);
    pack_scales_mins(f->scales, f->mins, block->scales);
    block->d = f->d;
    block->dmin = f->m;
}

#endif

#endif
