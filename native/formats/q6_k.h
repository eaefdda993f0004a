/* Q6_K: 16 sub-blocks of 16 six-bit weights, each with a signed byte for a scale;
 * y = (d scale) (q - 32).
 *
 *   byte  0                128             192            208 210
 *         | ql: 128 bytes  | qh: 64 bytes  | scales: 16   | d |
 *   ql    byte i of each 64: q(i+64) q(i)    lower four bits; 64 bytes: 128 weights
 *   qh    byte i of each 32: q(i+96) q(i+64) q(i+32) q(i)    upper two bits; 32 bytes: 128 weights
 *
 * Layout: block_q6_K of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q6_K_H
#define SMELT_FORMATS_Q6_K_H

#include "packing.h"

typedef struct {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d; /* half */
} block_q6_k;
static_assert(sizeof(block_q6_k) == BLOCK_BYTES_Q6_K, "block of Q6_K");

enum {
    CODE_BITS_q6_k = 6,
    CODE_OFFSET_q6_k = 32,
    SUB_BLOCK_q6_k = 16,
    MINS_q6_k = NO_MINS,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_q6_k = 4, RUN_STRIDE_q6_k = 2 };

static inline uint4 codes_q6_k(device const block_q6_k *block, uint run)
{
    const uint quarter = run / 2 % 4, part = 16 * (run % 2);
    device const uint8_t *ql = block->ql + 64 * (run / 8) + 32 * (quarter % 2) + part;
    const uint4 low = load_16_bytes(ql) >> 4 * (quarter / 2);
    const uint4 high = load_16_bytes(block->qh + 32 * (run / 8) + part) >> 2 * quarter;
    return (low & 0x0f0f0f0fu) | (high & 0x03030303u) << 4;
}

static inline float2 scale_q6_k(device const block_q6_k *block, uint run)
{
    return float2(widen(block->d) * float(block->scales[run]), 0.0f);
}

#else

static inline void fields_q6_k(const block_q6_k *block, block_fields *f)
{
    uint8_t high[256];

    unpack_planes(block->ql, 128, 64, 4, f->codes);
    unpack_planes(block->qh, 64, 32, 2, high);
    put_above(f->codes, high, 256, 4);
    memcpy(f->scales, block->scales, 16);
    f->d = block->d;
}

static inline void store_q6_k(const block_fields *f, block_q6_k *block)
{
    pack_planes(f->codes, 0, 128, 64, 4, block->ql);
    pack_planes(f->codes, 4, 64, 32, 2, block->qh);
    memcpy(block->scales, f->scales, 16);
    block->d = f->d;
}

#endif

#endif
