/* F32: IEEE single precision, one weight a block.
 *
 *   byte  0     4
 *         | f32 |
 */
#ifndef SMELT_FORMATS_F32_H
#define SMELT_FORMATS_F32_H

#include "packing.h"

typedef struct {
    uint8_t bytes[4]; /* not a float: the block may lie at an address that is not a multiple of 4 */
} block_f32;
static_assert(sizeof(block_f32) == BLOCK_BYTES_F32, "block of F32");

#ifdef __METAL_VERSION__

/* GGUF aligns tensors to 8 bytes at least, so on a GPU a row lies at a multiple of 4. */
static inline float4 load_f32(device const uint8_t *p)
{
    return float4(*(device const packed_float4 *)p);
}
static inline float element_f32(device const uint8_t *p) { return *(device const float *)p; }

#else

static inline void decode_f32(const block_f32 *block, float *y)
{
    memcpy(y, block->bytes, sizeof *y);
}

#ifdef V_SIMD
V_INLINE vf load_f32(const void *p) { return vf_load(p); }
V_INLINE float element_f32(const void *p) { return *(const float *)p; }
#endif

#endif

#endif
