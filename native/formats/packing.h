/* What the block formats share: sizes, bit planes, six-bit scales and the IQ4 values; for C, and
 * what of it is not C, in packing_metal.h, for Metal.
 *
 * Its NumPy twin is src/smelt/formats/packing.py. A block lies in a file at an even address and
 * nothing better, so the structs hold bytes and uint16_t only, and halves are stored as uint16_t.
 */
#ifndef SMELT_FORMATS_PACKING_H
#define SMELT_FORMATS_PACKING_H

#ifdef __METAL_VERSION__
#include <metal_stdlib>
#define CONSTANT_TABLE constant
#else
#include <assert.h>
#include <stdint.h>

#include "../half.h"
#define CONSTANT_TABLE static const
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF blocks are little-endian and are used where the file is mapped: this machine cannot"
#endif

enum { /* BLOCK_WEIGHTS_Q4_K, BLOCK_BYTES_Q4_K, ... */
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes) \
    BLOCK_WEIGHTS_##NAME = block_weights, BLOCK_BYTES_##NAME = block_bytes,
#include "../formats.def"
};

/* The sixteen levels of IQ4_NL and IQ4_XS, dense around zero as weights are.
 * Source: kvalues_iq4nl of ggml-common.h.
 */
#define IQ4_LEVELS(X) \
    X(-127) X(-104) X(-83) X(-65) X(-49) X(-35) X(-22) X(-10) \
    X(1) X(13) X(25) X(38) X(53) X(69) X(89) X(113)
#define IQ4_AS_IS(level) level,
CONSTANT_TABLE int8_t iq4_values[16] = {IQ4_LEVELS(IQ4_AS_IS)};

enum { IQ4_OFFSET = 127 }; /* a code of the formats that index iq4_values counts from there */

enum { NO_MINS, MINS_SUBTRACTED, MIN_ADDED };

#ifdef __METAL_VERSION__
#include "packing_metal.h"
#else

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

/* The inverse of unpack_planes for `bits` bits of every field, from its bit `low` up.
 * fields: [n_bytes * 8 / bits], whose other bits are left out
 */
static inline void pack_planes(const uint8_t *fields, int low, int n_bytes, int width, int bits,
                               uint8_t *packed)
{
    const int mask = (1 << bits) - 1;

    memset(packed, 0, (size_t)n_bytes);
    for (int group = 0; group < n_bytes; group += width)
        for (int shift = 0; shift < 8; shift += bits)
            for (int i = 0; i < width; i++)
                packed[group + i] |= (uint8_t)((*fields++ >> low & mask) << shift);
}

/* The eight scales and eight minima of Q4_K and Q5_K, six bits each:
 *
 *   byte  0..3   SSssssss   scale j        SS: upper bits of scale j + 4
 *   byte  4..7   MMmmmmmm   minimum j      MM: upper bits of minimum j + 4
 *   byte  8..11  mmmmssss   lower bits of minimum j + 4 and scale j + 4
 *
 * Layout: get_scale_min_k4 of ggml-quants.c.
 */
static inline void unpack_scales_mins(const uint8_t packed[12], int8_t *scales, uint8_t *mins)
{
    for (int j = 0; j < 4; j++) {
        scales[j] = (int8_t)(packed[j] & 63);
        mins[j] = packed[j + 4] & 63;
        scales[j + 4] = (int8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        mins[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

/* The inverse of unpack_scales_mins. */
static inline void pack_scales_mins(const int8_t *scales, const uint8_t *mins, uint8_t packed[12])
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scales[j] | scales[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(mins[j] | mins[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((scales[j + 4] & 15) | (mins[j + 4] & 15) << 4);
    }
}

/* One block taken apart, the same way for every quantised format:
 *     weight = d scale (code - CODE_OFFSET)  - m min     MINS_SUBTRACTED: K-quants
 *                                            + m         MIN_ADDED: Q4_1, Q5_1
 * with one scale and minimum for SUB_BLOCK weights; blocks of 32 have neither (scale = 1). A code
 * of CODE_BITS bits is unsigned, but for Q8_0's; that of IQ4 is an index into iq4_values.
 */
typedef struct {
    uint8_t codes[256];
    int8_t scales[16];
    uint8_t mins[16];
    uint16_t d, m; /* halves */
} block_fields;

/* Adds upper bits to codes of `bits` bits. */
static inline void put_above(uint8_t *codes, const uint8_t *upper, int n, int bits)
{
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(codes[i] | upper[i] << bits);
}

/* The weights of a block, in the order of float32 operations that ggml's and gguf's decoders have.
 * y: [block] */
static inline void decode_fields(const block_fields *f, int block, int bits, int offset,
                                 int sub_block, int mins, float *y)
{
    const float d = f16_to_f32(f->d), m = mins == NO_MINS ? 0.0f : f16_to_f32(f->m);

    for (int i = 0; i < block; i++) {
        int level = f->codes[i] - offset;
        float scale = d;
        if (bits == 8)
            level = (int8_t)f->codes[i];
        if (offset == IQ4_OFFSET)
            level = iq4_values[f->codes[i]];
        if (block == 256)
            scale = d * (float)f->scales[i / sub_block];
        y[i] = scale * (float)level;
        if (mins == MINS_SUBTRACTED)
            y[i] -= m * (float)f->mins[i / sub_block];
        if (mins == MIN_ADDED)
            y[i] += m;
    }
}

#endif /* C */

#endif
