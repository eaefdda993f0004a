/* What the block formats share: sizes, bit planes, six-bit scales and the IQ4 values.
 *
 * Its NumPy twin is src/smelt/formats/packing.py. A block lies in a file at an even address and
 * nothing better, so the structs hold bytes and uint16_t only, and halves are stored as uint16_t.
 */
#ifndef SMELT_FORMATS_PACKING_H
#define SMELT_FORMATS_PACKING_H

#include <assert.h>
#include <stdint.h>

#include "../half.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF blocks are little-endian and are used where the file is mapped: this machine cannot"
#endif

enum { /* BLOCK_WEIGHTS_Q4_K, BLOCK_BYTES_Q4_K, ... */
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes) \
    BLOCK_WEIGHTS_##NAME = block_weights, BLOCK_BYTES_##NAME = block_bytes,
#include "../formats.def"
};

/* Splits bytes into fields of 1, 2 or 4 bits that are stored in planes.
 *
 * Of every `width` bytes the lowest `bits` of each byte come first, then the next ones:
 * with width 16 and 4 bits, fields 0 to 15 are the low nibbles and 16 to 31 the high nibbles;
 * with width 1 the fields simply follow each other from the lowest bit up.
 * fields: [n_bytes * 8 / bits]
 */
static inline void unpack_planes(const uint8_t *packed, int n_bytes, int width, int bits,
                                 uint8_t *fields)
{
    const int mask = (1 << bits) - 1;

    for (int group = 0; group < n_bytes; group += width)
        for (int shift = 0; shift < 8; shift += bits)
            for (int i = 0; i < width; i++)
                *fields++ = (uint8_t)(packed[group + i] >> shift & mask);
}

/* The eight scales and eight minima of Q4_K and Q5_K, six bits each:
 *
 *   byte  0..3   SSssssss   scale j        SS: upper bits of scale j + 4
 *   byte  4..7   MMmmmmmm   minimum j      MM: upper bits of minimum j + 4
 *   byte  8..11  mmmmssss   lower bits of minimum j + 4 and scale j + 4
 *
 * Layout: get_scale_min_k4 of ggml-quants.c.
 */
static inline void unpack_scales_mins(const uint8_t packed[12], uint8_t scales[8], uint8_t mins[8])
{
    for (int j = 0; j < 4; j++) {
        scales[j] = packed[j] & 63;
        mins[j] = packed[j + 4] & 63;
        scales[j + 4] = (uint8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        mins[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

/* The sixteen levels of IQ4_NL and IQ4_XS, dense around zero as weights are.
 * Source: kvalues_iq4nl of ggml-common.h.
 */
static const int8_t iq4_values[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

#ifdef V_SIMD
/* What a quantised format's codes_<name> gives the matmul kernels (cpu/kernels/matmul_quantised.h):
 * the block's int16 codes with the sub-block scales multiplied in, 32 a vector, in the order of the
 * weights; the minima of its 16-weight sub-blocks in lanes 0..15 of *mins, zero above, where
 * HAS_MINS_<name>; and the floats of
 *     weight = scale * code - min_scale * min
 */
typedef struct {
    float scale, min_scale;
} block_scales;

/* A block of 32 with one minimum: both of its sub-blocks count it once. */
static const uint8_t minima_of_one[16] = {1, 1};

V_INLINE vh minima_of_32(const uint8_t m[8]) /* one minimum for every two sub-blocks of 16 */
{
    uint8_t twice[16];
    for (int i = 0; i < 16; i++) twice[i] = m[i / 2];
    return vh_load_u8_half(twice);
}
#endif

#endif
