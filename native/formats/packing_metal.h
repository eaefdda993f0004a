/* The Metal side of packing.h: how a lane of the GPU reads sixteen weights of a block.
 *
 * A run is sixteen neighbouring weights: the most that every format gives one scale and minimum.
 * The Metal part of a format's header has
 *
 *   LANE_RUNS_<name>    runs whose codes share bytes: one lane takes them, and reads each byte once
 *   RUN_STRIDE_<name>   runs from one of them to the next: the planes of unpack_planes are
 *                       16 * RUN_STRIDE bytes wide
 *   codes_<name>        the codes of a run: four words of four bytes. Where CODE_BITS divides 8 the
 *                       words are as they lie in the block and the code is a field of each byte,
 *                       at CODE_BITS * (run / RUN_STRIDE % (8 / CODE_BITS)); else it is the byte
 *   scale_<name>        of a run: weight = scale (code - offset) + addend, the addend being
 *                       rounded and signed so that the sum has the bits of decode_fields
 *
 * and a float format load_<name> and element_<name>, as on the CPU. metal/formats.h makes of these
 * what the kernels use.
 *
 * Cycles. Memory gives a core of an M1 or M2 8 to 10 bytes a cycle, some 16 weights of 4.5 bits,
 * and the core has 128 lanes: 8 cycles of a lane for a weight. A float add, a fused multiply-add
 * and a bitwise operation take one each, and read or write 16-bit registers at no cost;
 * conversions between integers and floats and shifts take four
 * (github.com/philipturner/metal-benchmarks). So codes become floats without conversions here,
 * and share their shifts.
 */
#ifndef SMELT_FORMATS_PACKING_METAL_H
#define SMELT_FORMATS_PACKING_METAL_H

using namespace metal;

/* 16 and 4 bytes at an even address. A load fetches up to four neighbours aligned to their own size
 * (device_load in dougallj.github.io/applegpu), which a packed vector of ushort says. */
static inline uint4 load_16_bytes(device const uint8_t *p)
{
    device const packed_ushort4 *halves = (device const packed_ushort4 *)p;
    return uint4(as_type<uint2>(ushort4(halves[0])), as_type<uint2>(ushort4(halves[1])));
}

static inline uint load_4_bytes(device const uint8_t *p)
{
    return as_type<uint>(ushort2(*(device const packed_ushort2 *)p));
}

/* A stored half, widened exactly. */
static inline float widen(uint16_t bits) { return float(as_type<half>(bits)); }

/* The fields of `bits` bits at bit `at` of four bytes, each less `offset`: exact, in the bytes'
 * order.
 *
 * A half 2^e has ten bits of mantissa, of which bit `at` counts one if e = 10 - at. Such bits
 * or-ed into it make 2^e + field, and a subtraction takes 2^e off again. Every second byte is at
 * the right place for one of two halves; a shift by 8 brings the others there, and serves all
 * fields of a word. Conversions of CUDA kernels for 4-bit weights work alike (Kim et al. 2022,
 * arXiv:2211.10017).
 */
static inline half4 fields_of(uint word, uint at, uint bits, int offset)
{
    const uint mask = (((1u << bits) - 1u) << at) * 0x00010001u;
    const uint one = (25u - at) << 10; /* 2^(10 - at) as a half */
    const half zero = as_type<half>(ushort(one)) + half(offset);
    const half2 even = as_type<half2>((word & mask) | one * 0x00010001u) - half2(zero);
    const half2 odd = as_type<half2>((word >> 8 & mask) | one * 0x00010001u) - half2(zero);
    return half4(even.x, odd.x, even.y, odd.y);
}

/* One field of a word, at + bits < 23, as a float: the same with 23 bits of mantissa. */
static inline float field_of(uint word, uint at, uint bits)
{
    const uint one = (150u - at) << 23; /* 2^(23 - at) as a float */
    const uint mask = ((1u << bits) - 1u) << at;
    return as_type<float>((word & mask) | one) - as_type<float>(one);
}

/* Bits 0 to 3 of a word, one to the lowest bit of each byte: bit i goes to i + 7 i. */
static inline uint4 spread_bits(uint4 words) { return ((words & 15u) * 0x00204081u) & 0x01010101u; }

/* d scale and -(dmin min) of sub-block j of Q4_K and Q5_K, whose blocks begin with d, dmin and the
 * twelve bytes that unpack_scales_mins of packing.h sketches. */
static inline float2 scale_and_min(device const uint16_t *block, uint j)
{
    const uint4 head = load_16_bytes((device const uint8_t *)block);
    const half2 d = as_type<half2>(head.x);
    const bool upper = j >= 4;
    const uint scales = upper ? (head.w & 0x0f0f0f0fu) | (head.y >> 2 & 0x30303030u)
                              : head.y & 0x3f3f3f3fu;
    const uint mins = upper ? (head.w >> 4 & 0x0f0f0f0fu) | (head.z >> 2 & 0x30303030u)
                            : head.z & 0x3f3f3f3fu;
    const ushort2 scale_pairs = as_type<ushort2>(scales), min_pairs = as_type<ushort2>(mins);
    const uint scale = j & 2u ? scale_pairs.y : scale_pairs.x;
    const uint minimum = j & 2u ? min_pairs.y : min_pairs.x;
    const uint at = (j & 1u) * 8u;
    return float2(float(d.x) * field_of(scale, at, 6), -(float(d.y) * field_of(minimum, at, 6)));
}

#endif
