/* F16: IEEE half precision, one weight a block.
 *
 *   byte  0     2
 *         | f16 |   s eeeee mmmmmmmmmm
 */
#ifndef SMELT_FORMATS_F16_H
#define SMELT_FORMATS_F16_H

#include "packing.h"

typedef struct {
    uint16_t value;
} block_f16;
static_assert(sizeof(block_f16) == BLOCK_BYTES_F16, "block of F16");

#ifdef __METAL_VERSION__

static inline float4 load_f16(device const uint8_t *p)
{
    return float4(half4(*(device const packed_half4 *)p));
}
static inline float element_f16(device const uint8_t *p) { return float(*(device const half *)p); }

#else

static inline void decode_f16(const block_f16 *block, float *y)
{
    *y = f16_to_f32(block->value);
}

#ifdef V_SIMD
V_INLINE vf load_f16(const void *p) { return vf_load_f16(p); }
V_INLINE float element_f16(const void *p) { return v_f16(*(const uint16_t *)p); }
#endif

#endif

#endif
