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

static inline void decode_bf16(const block_bf16 *block, float *y)
{
    *y = bf16_to_f32(block->value);
}

#ifdef V_SIMD
V_INLINE vf load_bf16(const void *p) { return vf_load_bf16(p); }
V_INLINE float element_bf16(const void *p) { return bf16_to_f32(*(const uint16_t *)p); }
#endif

#endif
