/* Q4_1: 32 nibbles with a scale and an offset; y = d q + m.
 *
 *   byte  0   2   4                      20
 *         | d | m | qs: 16 bytes         |
 *   qs    byte i: q(i+16) q(i)                high nibble, low nibble
 *
 * Layout: block_q4_1 of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q4_1_H
#define SMELT_FORMATS_Q4_1_H

#include "packing.h"

typedef struct {
    uint16_t d; /* half */
    uint16_t m; /* half */
    uint8_t qs[16];
} block_q4_1;
static_assert(sizeof(block_q4_1) == BLOCK_BYTES_Q4_1, "block of Q4_1");

enum {
    CODE_BITS_q4_1 = 4,
    CODE_OFFSET_q4_1 = 0,
    SUB_BLOCK_q4_1 = 32,
    MINS_q4_1 = MIN_ADDED,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_q4_1 = 2, RUN_STRIDE_q4_1 = 1 };

static inline uint4 codes_q4_1(device const block_q4_1 *block, uint)
{
    return load_16_bytes(block->qs);
}

static inline float2 scale_q4_1(device const block_q4_1 *block, uint)
{
    return float2(widen(block->d), widen(block->m));
}

#else

static inline void fields_q4_1(const block_q4_1 *block, block_fields *f)
{
    unpack_planes(block->qs, 16, 16, 4, f->codes);
    f->d = block->d;
    f->m = block->m;
}

static inline void store_q4_1(const block_fields *f, block_q4_1 *block)
{
    pack_planes(f->codes, 0, 16, 16, 4, block->qs);
    block->d = f->d;
    block->m = f->m;
}

#endif

#endif
