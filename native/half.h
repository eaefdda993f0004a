/* Conversions between float32 and two 16-bit floats, IEEE half and bfloat16, without intrinsics.
 *
 *   half      s eeeee mmmmmmmmmm            bias 15
 *   bfloat16  s eeeeeeee mmmmmmm            the upper half of a float32
 *   float32   s eeeeeeee mmmmmmm mmmmmmmm mmmmmmmm   bias 127
 *
 * Widening is exact. Narrowing rounds to nearest, ties to even, overflows to infinity and keeps a
 * NaN a (quiet) NaN. Formats: IEEE 754-2019, 3.4.
 */
#ifndef SMELT_HALF_H
#define SMELT_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float f32_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t magnitude = h & 0x7fff;
    uint32_t bits;

    if (magnitude >= 0x7c00) /* infinity and NaN */
        bits = 0x7f800000 | magnitude << 13;
    else if (magnitude >= 0x0400)
        bits = (magnitude << 13) + ((127 - 15) << 23);
    else /* zero and subnormals: multiples of 2^-24, which float32 holds as normal numbers */
        bits = f32_bits((float)magnitude * 0x1p-24f);
    return f32_from_bits(sign | bits);
}

static inline uint16_t f32_to_f16(float x)
{
    const uint32_t bits = f32_bits(x);
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t magnitude = bits & 0x7fffffff;
    uint32_t h;

    if (magnitude > 0x7f800000)
        h = 0x7e00 | (magnitude >> 13 & 0x03ff);
    else if (magnitude >= 0x47800000) /* 65536; from 65520 on, rounding carries to infinity */
        h = 0x7c00;
    else if (magnitude >= 0x38800000) /* 2^-14, the smallest normal half */
        h = (magnitude + 0x0fff + (magnitude >> 13 & 1) - ((127 - 15) << 23)) >> 13;
    else /* floats from 0.5 to 1 are 2^-24 apart, as subnormal halves are: the sum rounds for us */
        h = f32_bits(f32_from_bits(magnitude) + 0.5f) - f32_bits(0.5f);
    return (uint16_t)(sign | h);
}

static inline float bf16_to_f32(uint16_t b)
{
    return f32_from_bits((uint32_t)b << 16);
}

static inline uint16_t f32_to_bf16(float x)
{
    const uint32_t bits = f32_bits(x);

    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x0040);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
