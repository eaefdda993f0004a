/* Q3_K: 16 sub-blocks of 16 three-bit weights, each with a six-bit scale;
 * y = d (scale - 32) (q - 4).
 *
 *   byte    0             32               96           108 110
 *           | hmask: 32   | qs: 64 bytes   | scales: 12 | d |
 *   qs      byte i of each 32: q(i+96) q(i+64) q(i+32) q(i)   lower two bits; 32 bytes: 128 weights
 *   hmask   bit b of byte i: the third bit of q(i+32b)
 *   scales  byte j < 8:  scale(j+8) scale(j)                         lower four bits each
 *           byte 8 + k:  scale(k+12) scale(k+8) scale(k+4) scale(k)  upper two bits each
 *
 * Layout: block_q3_K and dequantize_row_q3_K of ggml.
 */
#ifndef SMELT_FORMATS_Q3_K_H
#define SMELT_FORMATS_Q3_K_H

#include "packing.h"

typedef struct {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d; /* half */
} block_q3_k;
static_assert(sizeof(block_q3_k) == BLOCK_BYTES_Q3_K, "block of Q3_K");

enum {
    CODE_BITS_q3_k = 3,
    CODE_OFFSET_q3_k = 4,
    SUB_BLOCK_q3_k = 16,
    MINS_q3_k = NO_MINS,
};

#ifdef __METAL_VERSION__

enum { LANE_RUNS_q3_k = 4, RUN_STRIDE_q3_k = 2 };

static inline uint4 codes_q3_k(device const block_q3_k *block, uint run)
{
    const uint part = 16 * (run % 2);
    const uint4 low = load_16_bytes(block->qs + 32 * (run / 8) + part) >> 2 * (run / 2 % 4);
    const uint4 high = load_16_bytes(block->hmask + part) >> run / 2;
    return (low & 0x03030303u) | (high & 0x01010101u) << 2;
}

static inline float2 scale_q3_k(device const block_q3_k *block, uint run)
{
    const uint low = block->scales[run % 8] >> 4 * (run / 8) & 15u;
    const uint high = block->scales[8 + run % 4] >> 2 * (run / 4) & 3u;
    return float2(widen(block->d) * float(int(low | high << 4) - 32), 0.0f);
}

#else

static inline void fields_q3_k(const block_q3_k *block, block_fields *f)
{
    uint8_t high[256], low_scales[16], high_scales[16];

    unpack_planes(block->qs, 64, 32, 2, f->codes);
    unpack_planes(block->hmask, 32, 32, 1, high);
    put_above(f->codes, high, 256, 2);
    unpack_planes(block->scales, 8, 8, 4, low_scales);
    unpack_planes(block->scales + 8, 4, 4, 2, high_scales);
    for (int j = 0; j < 16; j++)
        f->scales[j] = (int8_t)((low_scales[j] | high_scales[j] << 4) - 32);
    f->d = block->d;
}

static inline void store_q3_k(const block_fields *f, block_q3_k *block)
{
    uint8_t scales[16];

    pack_planes(f->codes, 0, 64, 32, 2, block->qs);
    pack_planes(f->codes, 2, 32, 32, 1, block->hmask);
    for (int j = 0; j < 16; j++)
        scales[j] = (uint8_t)(f->scales[j] + 32);
    pack_planes(scales, 0, 8, 8, 4, block->scales);
    pack_planes(scales, 4, 4, 4, 2, block->scales + 8);
    block->d = f->d;
}

#endif

#endif
