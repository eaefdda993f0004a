/* Quantised weights times quantised activations: all arithmetic inside a block is exact.
 *
 *     weight = d * scale * (code - offset) - m * min      scale, code, min: small integers
 *     x      = dx * q                                     q: at most 2047, integer
 *
 * The sums of scale * (code - offset) * q and of min * q over a block are exact int32, so it does
 * not matter in which order or on which instruction set they were made. Floats meet once a block,
 * in the order of the blocks: the result is the same, bit for bit, for one token or many.
 *
 * Weights lie in groups of 16 rows (packed.h); lane r of a vf or vi belongs to row r, and a vh
 * holds two neighbouring weights of every row. Few tokens: codes go from the planes into registers
 * and into the dot products. From V_TILE_TOKENS tokens on a block is first unpacked to L1.
 */

#define FROM_ZERO(level) level + IQ4_OFFSET,
static const uint8_t iq4_from_zero[16] = {IQ4_LEVELS(FROM_ZERO)};

typedef struct {
    const uint8_t *low, *high, *side; /* of one block of a group */
    const uint8_t *ahead; /* the block that a thread will read after a while */
} packed_block;

/* Of one block and a tile of tokens, or of single tokens one after the other (tile 1). */
typedef struct {
    const int16_t *q;    /* [block / 2, tile, 2], or [n_tokens, block] */
    const int8_t *halves; /* [n_tokens, 2, block], see matmul_bytes.h */
    const float *d;      /* [n_tokens] */
    const int16_t *sums; /* [block / 32, tile, 2], or [n_tokens, block / 16], see internal.h */
    const int16_t *sums32; /* [block / 64, tile, 2], or [n_tokens, block / 32] */
    const uint8_t *overflows; /* [n_tokens] */
    int tile;
} block_activations;

/* How far ahead a thread asks for memory. A core reads a stream as fast as memory gives only if enough
 * of it is on its way: a Zen 5 reads 11 GB/s of Q4_K without, 31 with 16 KiB and 33 with 6; with 3 it is
 * slower again. A Xeon does not mind which. */
enum { PREFETCH_BYTES = 6144 };

/* Groups of a matrix that are read side by side, `stride` bytes apart, and those that are read after
 * them. */
typedef struct {
    const uint8_t *at, *next;
    size_t stride;
    int first_block, n_blocks; /* of those of a row; `at` is where the first of them lies */
} packed_groups;

/* Block b of group g. Behind its last block comes the first one of the group that is read next. */
V_INLINE packed_block block_at(code_traits t, packed_groups groups, int g, int b)
{
    const size_t bytes = (size_t)packed_block_bytes(t);
    const uint8_t *at = groups.at + (size_t)g * groups.stride + (size_t)b * bytes;
    const int ahead = b + 1 + PREFETCH_BYTES / packed_block_bytes(t);
    const uint8_t *then = ahead < groups.n_blocks ? groups.at + (size_t)ahead * bytes
                                  : groups.next + (size_t)(ahead - groups.n_blocks) * bytes;
    then += (size_t)g * groups.stride;
    return (packed_block){at, at + plane_bytes(t, low_plane_width(t)), at + plane_bytes(t, t.bits), then};
}

enum { SPAN = 32 }; /* weights that are unpacked together: a whole unit of every plane */

V_INLINE packed_block span_at(code_traits t, packed_block block, int span)
{
    const int low = plane_bytes(t, low_plane_width(t)), high = plane_bytes(t, high_plane_width(t));
    return (packed_block){block.low + span * (low * SPAN / t.block),
                          block.high + span * (high * SPAN / t.block), block.side, block.ahead};
}

/* Asks for some of the block that a thread will read after a while, in step i of n of turn `turn` of
 * n_turns of this block. A line at a time and evenly, since in bursts they cost a Zen 5 an eighth of its
 * rate. */
V_INLINE void prefetch_ahead(code_traits t, packed_block block, int into_l2, int turn, int n_turns,
                             int i, int n)
{
    const int bytes = packed_block_bytes(t) / n_turns, lines = (bytes + UNIT_BYTES - 1) / UNIT_BYTES;
    const uint8_t *ahead = block.ahead + turn * bytes;
    for (int line = i * lines / n; line < (i + 1) * lines / n; line++)
        if (into_l2) V_PREFETCH_L2(ahead + line * bytes / lines);
        else V_PREFETCH(ahead + line * bytes / lines);
}

/* The units that the fields of a span's planes are taken from, one field after the other. Compilers
 * would load a unit anew for each of its fields, and loads are what limits the kernel, with those of
 * activations, where memory keeps up. */
typedef struct {
    vh low, high;
} plane_units;

/* Bits that begin at bit `at` moved to bit `to`. */
V_INLINE vh moved(vh unit, int at, int to)
{
    return at < to ? vh_sll(unit, to - at) : vh_srl(unit, at - to);
}

/* The unit of a plane that holds group i of `weights` neighbours of a span, with the group's bits,
 * which begin at bit `at`, moved to bit `to`; other bits are what the unit has there. */
V_INLINE vh moved_unit(const uint8_t *plane, int width, int i, int weights, int at, int to, vh *unit)
{
    const int groups = 32 / width / weights;
    if (i % groups == 0)
        *unit = vh_unknown(vh_load((const int16_t *)(plane + UNIT_BYTES * (i / groups))));
    return moved(*unit, at, to);
}

/* Weights 2i and 2i + 1 of 16 rows, as int16. */
V_INLINE vh plane_pair(const uint8_t *plane, int width, int i, int to, vh *unit)
{
    const int at = width * (i % (16 / width) / 2) + i % 2 * 8;
    return moved_unit(plane, width, i, 2, at, to, unit);
}

V_INLINE vh field_mask(int width, int to) { return vh_set((int16_t)(((1 << width) - 1) << to)); }

/* The codes of weights 2i and 2i + 1 of a span of 16 rows; i = 0, 1, 2, ... */
V_INLINE vh code_pair(code_traits t, packed_block span, int i, plane_units *units)
{
    const int low = low_plane_width(t), high = high_plane_width(t);
    if (t.bits == 8) {
        vh unit = vh_load((const int16_t *)(span.low + UNIT_BYTES * (i / 2)));
        return vh_sra(i % 2 ? unit : vh_sll(unit, 8), 8);
    }
    vh code = plane_pair(span.low, low, i, 0, &units->low);
    if (i % (16 / low) != 16 / low - 1) code = vh_and(code, field_mask(low, 0));
    if (high)
        code = vh_or_masked(code, plane_pair(span.high, high, i, low, &units->high),
                            field_mask(high, low));
    return t.lookup ? vh_lookup(iq4_from_zero, code) : code;
}

V_INLINE const uint16_t *d_at(code_traits t, packed_block block)
{
    return (const uint16_t *)(block.side + scale_bytes(t));
}

/* Value i of the eight pairs of six bits. */
V_INLINE vh six_bits(packed_block block, int i)
{
    const int16_t *words = (const int16_t *)block.side;
    const vh mask = vh_set(63);
    if (i < 3) return vh_and(vh_load(words + 32 * i), mask);
    if (i < 6) return vh_and(vh_srl(vh_load(words + 32 * (i - 3)), 6), mask);
    return vh_or_masked(vh_srl(vh_load(words + 32 * (i - 6)), 12),
                        vh_srl(vh_load(words + 64), i == 6 ? 8 : 10), vh_set(0x30));
}

/* Pair i of the scales of a block of 256, int16 [16 rows][2]. */
V_INLINE vh scale_pair(code_traits t, packed_block block, int i)
{
    if (six_bit_scales(t)) return six_bits(block, i);
    return vh_load_i8((const int8_t *)block.side + UNIT_BYTES / 2 * i);
}

/* The minima that belong to pair i, of eight, of a block's sums. */
V_INLINE vh min_pair(code_traits t, packed_block block, int i)
{
    if (six_bit_scales(t)) return six_bits(block, 4 + i / 2);
    return vh_load_u8(block.side + GROUP_ROWS * 256 / t.sub_block + UNIT_BYTES / 2 * i);
}

/* The pair that the scale of weight i of a span belongs to, as its first for even spans and as its
 * second for odd ones. */
V_INLINE int pair_of(code_traits t, int span, int i)
{
    return t.sub_block == 32 ? span / 2 : span / 2 * 2 + i / 16;
}

/* The scale of the sub-block of weight i of a span, int32 [16 rows]. */
V_INLINE vi sub_block_scale(code_traits t, packed_block block, int span, int i)
{
    return vi_half(scale_pair(t, block, pair_of(t, span, i)), span % 2);
}

/* The sum of q over 16 weights that are number i of a block. */
V_INLINE int sum_of(code_traits t, const int16_t *sums, int i)
{
    return sums[t.block == 256 ? (i & ~3) | (i & 1) << 1 | (i >> 1 & 1) : i];
}

/* The sum of q over a sub-block of token k, a single one. */
V_INLINE int sub_block_sum(code_traits t, block_activations x, int k, int sub_block)
{
    const int16_t *sums = x.sums + k * (t.block / 16);
    const int n = t.sub_block / 16, first = sub_block * n;
    return sum_of(t, sums, first) + (n > 1 ? sum_of(t, sums, first + 1) : 0);
}

/* What a block's sums are finished with, the same for all tokens: d, m with its sign, and factors of the
 * sums of q, pair by pair: the minima, or what an offset comes to that was not taken off the codes. */
typedef struct {
    vf d, m;
    int offset;
    vh factors[8];
} block_end;

/* offset: how much codes were too large by when they were multiplied. (Not as a result: gcc copies.) */
V_INLINE void find_end(code_traits t, packed_block block, int offset, block_end *end)
{
    const uint16_t *d = d_at(t, block);
    end->d = vf_load_f16(d);
    end->offset = offset;
    if (t.mins == MIN_ADDED) end->m = vf_load_f16(d + GROUP_ROWS);
    if (t.mins == MINS_SUBTRACTED) {
        end->m = vf_mul(vf_load_f16(d + GROUP_ROWS), vf_set(-1.0f));
        V_UNROLL
        for (int i = 0; i < 8; i++) end->factors[i] = min_pair(t, block, i);
    } else if (offset && t.block == 256) {
        V_UNROLL
        for (int i = 0; i < 8; i++)
            end->factors[i] = vh_mul(scale_pair(t, block, t.sub_block == 32 ? i / 2 : i),
                                     vh_set((int16_t)-offset));
    }
}

/* Whether a block's sums of q have factors, eight pairs; then those of a token are added to its minimum
 * or, for an offset, to its sum. */
V_INLINE int has_factors(code_traits t, const block_end *end)
{
    return t.mins == MINS_SUBTRACTED || (end->offset && t.block == 256);
}

/* Adds token k's sums over a block, exact ones, to y [16]. */
V_INLINE void add_block(code_traits t, const block_end *end, block_activations x, int k, vi total,
                        vi mins, float *y)
{
    const vf d = vf_set(x.d[k]);
    vf sum = vf_fma(vf_from_vi(total), vf_mul(end->d, d), vf_load(y));
    if (t.mins != NO_MINS) sum = vf_fma(vf_from_vi(mins), vf_mul(end->m, d), sum);
    vf_store(y, sum);
}

/* How far apart the sums of q of two tokens are; pairs of the same token are 2 * x.tile apart. */
V_INLINE int sums_stride(code_traits t, block_activations x) { return x.tile > 1 ? 2 : t.block / 16; }

/* Whether n_tokens tokens' sums over 32 do for factors of sub-blocks of 32: half as many products. They
 * fit unless half the largest activation is less than the mean of 32. */
V_INLINE int sums32_do(code_traits t, block_activations x, int n_tokens)
{
    if (t.block != 256 || t.sub_block != 32) return 0;
    int overflows = 0;
    for (int k = 0; k < n_tokens; k++) overflows |= x.overflows[k];
    return !overflows;
}

/* Adds token k's sum over a block, an exact one, and that of min * q to y [16]. For MIN_ADDED the one
 * minimum counts 1. */
V_INLINE void end_block(code_traits t, const block_end *end, block_activations x, int k, vi total,
                        float *y)
{
    const int16_t *sums = x.sums + k * sums_stride(t, x);
    vi mins = t.mins == MIN_ADDED ? vi_set(sums[0] + sums[1]) : vi_zero();
    vi *to = t.mins == MINS_SUBTRACTED ? &mins : &total;
    V_UNROLL
    for (int i = 0; has_factors(t, end) && i < 8; i++)
        *to = vi_dot(*to, end->factors[i], vh_broadcast2(sums + 2 * i * x.tile));
    add_block(t, end, x, k, total, mins, y);
}

/* Memory that is to be loaded where it is used, not kept in registers, which are for the sums. */
#define V_OPAQUE(array) __asm__ volatile("" ::"r"(array) : "memory")

/* The scales of a span's sub-blocks, one or two, int16 [16 rows], each twice. To be taken once: a
 * compiler does not know that what is stored in between leaves them as they are. */
typedef struct {
    vh of[2];
} span_scales;

V_INLINE span_scales scales_of(code_traits t, packed_block block, int span)
{
    span_scales scales;
    for (int i = 0; has_scales(t) && i < SPAN / t.sub_block; i++)
        scales.of[i] = vh_twice(scale_pair(t, block, pair_of(t, span, i * t.sub_block)), span % 2);
    return scales;
}

/* Weights 2i and 2i + 1 of a span as they come in sums over a whole block: code, less the offset,
 * times scale. */
V_INLINE vh scaled_pair(code_traits t, packed_block span, span_scales scales, int i,
                        plane_units *units)
{
    vh w = code_pair(t, span, i, units);
    if (t.offset) w = vh_sub(w, vh_set((int16_t)t.offset));
    return has_scales(t) ? vh_mul(w, scales.of[2 * i / t.sub_block]) : w;
}

/* The activations of one block from token k on, where a tile of so many begins if kernels multiply int16
 * (tile_of). */
V_INLINE block_activations block_of(const activations *a, code_traits t, int b, int k, int tile)
{
#ifdef V_BYTE_TILES
    tile = 1;
#endif
    const enum activation kind = t.block == 256 ? ACTIVATION_Q256 : ACTIVATION_Q32;
    const size_t at = (size_t)b * (size_t)a->n_tokens + (size_t)k;
    return (block_activations){
        a->quantised[kind].q + at * (size_t)t.block,
        a->quantised[kind].halves + 2 * at * (size_t)t.block,
        a->quantised[kind].d + at,
        a->quantised[kind].sums + at * (size_t)(t.block / 16),
        a->quantised[kind].sums32 + at * (size_t)(t.block / 32),
        a->quantised[kind].overflows + at,
        tile,
    };
}

#ifdef V_BYTES
#include "cpu/kernels/matmul_bytes.h"
#endif
#ifndef V_BYTE_TILES
#include "cpu/kernels/matmul_words.h"
#endif
#if defined(V_AMX)
#include "cpu/kernels/matmul_amx.h"
#elif !defined(V_BYTE_TILES)
#include "cpu/kernels/matmul_tiles.h"
#endif

/* All blocks of n_groups groups and few tokens: eight at a time, four, two, one. */
V_INLINE void few_tokens(code_traits t, packed_groups groups, int n_groups, int into_l2,
                         const activations *a, float *y)
{
    const size_t stride = (size_t)a->n_tokens * GROUP_ROWS;
    for (int b = 0; b < groups.n_blocks; b++) {
        const int at = groups.first_block + b;
        packed_block blocks[V_TILE_GROUPS];
        for (int g = 0; g < n_groups; g++) blocks[g] = block_at(t, groups, g, b);
        int k = 0;
#define TOKENS(n)                                                                                  \
    for (; k + (n) <= a->n_tokens; k += (n))                                                       \
        dot_tokens(t, blocks, n_groups, block_of(a, t, at, k, n), n, y + k * GROUP_ROWS, stride);
#if V_DOT_TOKENS >= 8
        TOKENS(8)
#endif
#if V_DOT_TOKENS >= 4
        TOKENS(4)
#endif
#undef TOKENS
        for (int g = 0; g < n_groups; g++) {
            float *sums = y + (size_t)g * stride;
            int j = k;
#if V_DOT_TOKENS >= 2
            for (; j + 2 <= a->n_tokens; j += 2)
                dot_block(t, blocks[g], into_l2, block_of(a, t, at, j, 1), 2, sums + j * GROUP_ROWS);
#endif
            for (; j < a->n_tokens; j++)
                dot_block(t, blocks[g], into_l2, block_of(a, t, at, j, 1), 1, sums + j * GROUP_ROWS);
        }
    }
}

#ifndef V_AMX
/* All blocks of n_groups groups and many tokens. */
V_INLINE void many_tokens(code_traits t, packed_groups groups, int n_groups, const activations *a,
                          float *y)
{
    const size_t stride = (size_t)a->n_tokens * GROUP_ROWS;
    for (int b = 0; b < groups.n_blocks; b++) {
        const int at = groups.first_block + b;
        packed_block blocks[V_TILE_GROUPS];
        block_tile tiles[V_TILE_GROUPS];
        for (int g = 0; g < n_groups; g++) {
            blocks[g] = block_at(t, groups, g, b);
            unpack_block(t, blocks[g], &tiles[g]);
        }
        /* what was unpacked is to be loaded where it is used: registers are for the sums */
        V_OPAQUE(tiles);
        int k = 0;
#define TILE(n)                                                                                    \
    for (; tile_width(a->n_tokens - k) == (n); k += (n))                                           \
        tile_tokens(t, tiles, blocks, n_groups, block_of(a, t, at, k, n), n, y + k * GROUP_ROWS, stride);
        TILE(V_TILE_TOKENS)
        if (V_TILE_TOKENS > 8) TILE(8)
        if (V_TILE_TOKENS > 4) TILE(4)
        TILE(1)
#undef TILE
    }
}
#endif

/* y [n_groups, n_tokens, GROUP_ROWS] of groups that follow each other. */
V_INLINE void quantised_unit(code_traits t, const weight_record *weight, const activations *a,
                             int first_row, int n_groups, const uint8_t *next, float *y)
{
    const int first_block = a->k_begin / t.block;
    const int64_t before = first_row * weight->row_bytes + first_block * packed_block_bytes(t);
    const packed_groups groups = {(const uint8_t *)weight->data + before,
                                  next + first_block * packed_block_bytes(t),
                                  (size_t)weight->row_bytes * GROUP_ROWS, first_block,
                                  (a->k_end - a->k_begin) / t.block};
    const size_t n_sums = (size_t)n_groups * (size_t)a->n_tokens * GROUP_ROWS;
    for (size_t i = 0; a->k_begin == 0 && i < n_sums; i += GROUP_ROWS) vf_store(y + i, vf_zero());
    /* for a token or two it matters which cache is asked for memory, and so would a test at every line */
    if (a->n_tokens < V_TILE_TOKENS && n_groups == V_TILE_GROUPS)
        few_tokens(t, groups, V_TILE_GROUPS, 1, a, y);
    else if (a->n_tokens < V_TILE_TOKENS && prefetch_into_l2)
        few_tokens(t, groups, 1, 1, a, y);
    else if (a->n_tokens < V_TILE_TOKENS)
        few_tokens(t, groups, 1, 0, a, y);
    else if (n_groups == V_TILE_GROUPS)
        many_tokens(t, groups, V_TILE_GROUPS, a, y);
    else
        many_tokens(t, groups, 1, a, y);
}
