/* BF16: the upper half of a float32, one weight a block.
 *
 *   byte  0      2
 *         | bf16 |   s eeeeeeee mmmmmmm
 */
#ifndef SMELT_FORMATS_BF16_H
#define SMELT_FORMATS_BF16_H

#include "packing.h"

typedef struct {
    uint16_t value;
} block_bf16;
static_assert(sizeof(block_bf16) == BLOCK_BYTES_BF16, "block of BF16");

#ifdef __METAL_VERSION__

/* Put beside 16 zero bits, not shifted: a move of a register, where a shift costs four. `bfloat`
 * would need Metal 3.1. */
static inline float widen_bf16(ushort bits) { return as_type<float>(ushort2(0, bits)); }

static inline float4 load_bf16(device const uint8_t *p)
{
    const ushort4 bits = ushort4(*(device const packed_ushort4 *)p);
    return float4(widen_bf16(bits.x), widen_bf16(bits.y), widen_bf16(bits.z), widen_bf16(bits.w));
}
static inline float element_bf16(device const uint8_t *p)
{
    return widen_bf16(*(device const ushort *)p);
}

#else

static inline void decode_bf16(const block_bf16 *block, float *y)
{
    *y = bf16_to_f32(block->value);
}

#ifdef V_SIMD
V_INLINE vf load_bf16(const void *p) { return vf_load_bf16(p); }
V_INLINE float element_bf16(const void *p) { return bf16_to_f32(*(const uint16_t *)p); }
#endif

#endif

#endif
