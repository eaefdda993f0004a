/* What the kernels read weights through: for every format of the registry a `reader_<name>`, made
 * of the functions in native/formats/<name>.h (packing_metal.h says what these are).
 *
 *   level4       half4, or float4 of a float format: four codes as numbers
 *   BLOCK        weights a block, RUN of which have one scale; float formats have blocks of one
 *                weight and runs of four
 *   LANE_RUNS    runs that one lane reads together, RUN_STRIDE runs apart
 *   HAS_SCALE    weight = scale level + addend, else the levels are the weights
 *   HAS_ADDEND
 *   HAS_TABLE    codes are looked up in `table`, see fill_table
 *   levels()     the RUN / 4 levels of a run: small numbers, exact in halves, which take half the
 *                registers and enter a multiply-add without a conversion
 *   scale()      of a run: (scale, addend)
 *   element()    one weight of a float format
 *
 * `row` is where a matrix row begins and `run` counts from there.
 */
#ifndef SMELT_METAL_FORMATS_H
#define SMELT_METAL_FORMATS_H

#include "../native/formats/formats.h"

#define UNROLL _Pragma("clang loop unroll(full)")

enum { TABLE_LEVELS = 16 }; /* of the formats whose codes are indices */

/* Such levels are looked up in threadgroup memory: every lane has another index, which is a
 * gather from device or constant memory, but 16 halves lie in 8 banks, without conflicts.
 * Threads after the first 16 have nothing to do; a barrier must follow. */
static inline void fill_table(threadgroup half *table, uint thread_index)
{
    if (thread_index < TABLE_LEVELS) table[thread_index] = half(iq4_values[thread_index]);
}

static inline half4 look_up(threadgroup const half *table, uint indices)
{
    const uchar4 i = as_type<uchar4>(indices);
    return half4(table[i.x], table[i.y], table[i.z], table[i.w]);
}

/* The four words of a run as sixteen levels. */
template <bool HAS_TABLE>
static inline void levels_of(uint4 words, uint at, uint bits, int offset,
                             threadgroup const half *table, thread half4 *levels)
{
    UNROLL
    for (int i = 0; i < 4; i++)
        levels[i] = HAS_TABLE ? look_up(table, words[i] >> at & 0x0f0f0f0fu)
                              : fields_of(words[i], at, bits, offset);
}

#define READER_BLOCK(name, block_weights)                                                          \
    struct reader_##name {                                                                         \
        typedef half4 level4;                                                                      \
        enum {                                                                                     \
            BLOCK = block_weights,                                                                 \
            RUN = 16,                                                                              \
            LANE_RUNS = LANE_RUNS_##name,                                                          \
            RUN_STRIDE = RUN_STRIDE_##name,                                                        \
            HAS_SCALE = 1,                                                                         \
            HAS_ADDEND = (int)MINS_##name != (int)NO_MINS,                                         \
            HAS_TABLE = (int)CODE_OFFSET_##name == (int)IQ4_OFFSET,                                \
            BITS = CODE_BITS_##name,                                                               \
            OFFSET = BITS == 8 ? 128 : (int)CODE_OFFSET_##name,                                    \
        };                                                                                         \
        static uint field_at(uint run)                                                             \
        {                                                                                          \
            return 8 % BITS ? 0u : BITS * (run / RUN_STRIDE % (8 / BITS));                         \
        }                                                                                          \
        static device const block_##name *block(device const uint8_t *row, uint run)               \
        {                                                                                          \
            return (device const block_##name *)row + run / (BLOCK / RUN);                         \
        }                                                                                          \
        static void levels(device const uint8_t *row, uint run, threadgroup const half *table,     \
                           thread half4 *y)                                                        \
        {                                                                                          \
            const uint4 words = codes_##name(block(row, run), run % (BLOCK / RUN));                \
            levels_of<HAS_TABLE != 0>(words, field_at(run), BITS, OFFSET, table, y);               \
        }                                                                                          \
        static float2 scale(device const uint8_t *row, uint run)                                   \
        {                                                                                          \
            return scale_##name(block(row, run), run % (BLOCK / RUN));                             \
        }                                                                                          \
        static float element(device const uint8_t *, uint) { return 0.0f; }                        \
    };
#define READER_256(name) READER_BLOCK(name, 256)
#define READER_32(name) READER_BLOCK(name, 32)
#define READER_1(name)                                                                             \
    struct reader_##name {                                                                         \
        typedef float4 level4;                                                                     \
        enum { BLOCK = 1, RUN = 4, LANE_RUNS = 1, RUN_STRIDE = 1 };                                \
        enum { HAS_SCALE = 0, HAS_ADDEND = 0, HAS_TABLE = 0 };                                     \
        static void levels(device const uint8_t *row, uint run, threadgroup const half *,          \
                           thread float4 *y)                                                       \
        {                                                                                          \
            y[0] = load_##name(row + run * (uint)(RUN * sizeof(block_##name)));                    \
        }                                                                                          \
        static float2 scale(device const uint8_t *, uint) { return float2(1.0f, 0.0f); }           \
        static float element(device const uint8_t *row, uint i)                                    \
        {                                                                                          \
            return element_##name(row + i * (uint)sizeof(block_##name));                           \
        }                                                                                          \
    };
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes) READER_##block_weights(name)
#include "../native/formats.def"

/* The weights of a run, with the bits of the decoder in C; those past the n-th of a row are zero.
 * A row of blocks has no such, so the branch is one of float formats. */
template <typename F>
static inline void decode_run(device const uint8_t *row, uint run, uint n,
                              threadgroup const half *table, thread float4 *weights)
{
#pragma STDC FP_CONTRACT OFF /* a fused multiply-add would round once where C rounds twice */
    const uint first = run * F::RUN;
    if (F::BLOCK == 1 && first + F::RUN > n) {
        weights[0] = float4(first + 0 < n ? F::element(row, first + 0) : 0.0f,
                            first + 1 < n ? F::element(row, first + 1) : 0.0f,
                            first + 2 < n ? F::element(row, first + 2) : 0.0f, 0.0f);
        return;
    }
    typename F::level4 levels[F::RUN / 4];
    F::levels(row, run, table, levels);
    const float2 scale = F::scale(row, run);
    UNROLL
    for (int i = 0; i < F::RUN / 4; i++) {
        weights[i] = float4(levels[i]);
        if (F::HAS_SCALE) weights[i] *= scale.x;
        if (F::HAS_ADDEND) weights[i] += scale.y;
    }
}

#endif
