/* Q2_K: 16 sub-blocks of 16 two-bit weights, each with a four-bit scale and minimum;
 * y = (d scale) q - (dmin min).
 *
 *   byte    0              16                 80  82     84
 *           | scales: 16   | qs: 64 bytes     | d | dmin |
 *   scales  byte j: min(j) scale(j)                high nibble, low nibble
 *   qs      byte i of each 32: q(i+96) q(i+64) q(i+32) q(i)    two bits each; 32 bytes: 128 weights
 *
 * Layout: block_q2_K of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q2_K_H
#define SMELT_FORMATS_Q2_K_H

#include "packing.h"

typedef struct {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d;    /* half */
    uint16_t dmin; /* half */
} block_q2_k;
static_assert(sizeof(block_q2_k) == BLOCK_BYTES_Q2_K, "block of Q2_K");

enum {
    CODE_BITS_q2_k = 2,
    CODE_OFFSET_q2_k = 0,
    SUB_BLOCK_q2_k = 16,
    MINS_q2_k = MINS_SUBTRACTED,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_q2_k = 4, RUN_STRIDE_q2_k = 2 };

static inline uint4 codes_q2_k(device const block_q2_k *block, uint run)
{
    return load_16_bytes(block->qs + 32 * (run / 8) + 16 * (run % 2));
}

static inline float2 scale_q2_k(device const block_q2_k *block, uint run)
{
    const uint packed = block->scales[run];
    return float2(widen(block->d) * field_of(packed, 0, 4),
                  -(widen(block->dmin) * field_of(packed, 4, 4)));
}

#else

static inline void fields_q2_k(const block_q2_k *block, block_fields *f)
{
    unpack_planes(block->qs, 64, 32, 2, f->codes);
    for (int j = 0; j < 16; j++) {
        f->scales[j] = (int8_t)(block->scales[j] & 15);
        f->mins[j] = block->scales[j] >> 4;
    }
    f->d = block->d;
    f->m = block->dmin;
}

static inline void store_q2_k(const block_fields *f, block_q2_k *block)
{
    pack_planes(f->codes, 0, 64, 32, 2, block->qs);
    for (int j = 0; j < 16; j++)
        block->scales[j] = (uint8_t)(f->scales[j] | f->mins[j] << 4);
    block->d = f->d;
    block->dmin = f->m;
}

#endif

#endif
