/* Q8_0: 32 signed bytes times one scale; y = d q.
 *
 *   byte  0   2                              34
 *         | d | q0 q1 q2 ...             q31 |
 *
 * Layout: block_q8_0 of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q8_0_H
#define SMELT_FORMATS_Q8_0_H

#include "packing.h"

typedef struct {
    uint16_t d;    /* half */
    int8_t qs[32]; /* q */
} block_q8_0;
static_assert(sizeof(block_q8_0) == BLOCK_BYTES_Q8_0, "block of Q8_0");

enum {
    CODE_BITS_q8_0 = 8,
    CODE_OFFSET_q8_0 = 0,
    SUB_BLOCK_q8_0 = 32,
    MINS_q8_0 = NO_MINS,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_q8_0 = 1, RUN_STRIDE_q8_0 = 1 };

/* Unsigned bytes, 128 more than q. */
static inline uint4 codes_q8_0(device const block_q8_0 *block, uint run)
{
    return load_16_bytes((device const uint8_t *)block->qs + 16 * run) ^ 0x80808080u;
}

static inline float2 scale_q8_0(device const block_q8_0 *block, uint)
{
    return float2(widen(block->d), 0.0f);
}

#else

static inline void fields_q8_0(const block_q8_0 *block, block_fields *f)
{
    memcpy(f->codes, block->qs, 32);
    f->d = block->d;
}

static inline void store_q8_0(const block_fields *f, block_q8_0 *block)
{
    memcpy(block->qs, f->codes, 32);
    block->d = f->d;
}

#endif

#endif
