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
 * and into the dot products. Many tokens: a block is first turned into int16 codes with the scales
 * multiplied in, in L1, and then used for V_TILE_TOKENS tokens at a time.
 */

#define FROM_ZERO(level) level + IQ4_OFFSET,
static const uint8_t iq4_from_zero[16] = {IQ4_LEVELS(FROM_ZERO)};

typedef struct {
    const uint8_t *low, *high, *side; /* of one block of a group */
} packed_block;

typedef struct {
    const int16_t *q;    /* [n_tokens, block] */
    const float *d;      /* [n_tokens] */
    const int16_t *sums; /* [n_tokens, block / 16] */
} block_activations;

V_INLINE packed_block block_at(code_traits t, const uint8_t *group, int n_blocks, int b)
{
    const int low = plane_bytes(t, low_plane_width(t)), planes = plane_bytes(t, t.bits);
    const uint8_t *at = group + (size_t)b * (size_t)planes;
    const uint8_t *sides = group + (size_t)n_blocks * (size_t)planes;
    return (packed_block){at, at + low, sides + b * side_bytes(t)};
}

/* How far ahead products of few tokens ask for the planes. A core reads one stream as fast as memory
 * gives only if enough of it is on its way: on a Zen 5, 17 GB/s with 2 KiB, 37 with 32. */
enum { PREFETCH_BYTES = 32768 };

enum { SPAN = 32 }; /* weights that are unpacked together: a whole unit of every plane */

V_INLINE packed_block span_at(code_traits t, packed_block block, int span)
{
    const int low = plane_bytes(t, low_plane_width(t)), high = plane_bytes(t, high_plane_width(t));
    return (packed_block){block.low + span * (low * SPAN / t.block),
                          block.high + span * (high * SPAN / t.block), block.side};
}

/* Field i of the units that hold a span: weights 2i and 2i + 1 of 16 rows, lowest bits. */
V_INLINE vh plane_field(const uint8_t *plane, int width, int i)
{
    const int fields = 16 / width;
    vh unit = vh_load((const int16_t *)(plane + UNIT_BYTES * (i / fields)));
    return vh_srl(unit, width * (i % fields));
}

/* The codes of weights 2i and 2i + 1 of a span of 16 rows, less the offset. */
V_INLINE vh code_pair(code_traits t, packed_block span, int i)
{
    const int low = low_plane_width(t), high = high_plane_width(t);
    if (t.bits == 8) {
        vh unit = vh_load((const int16_t *)(span.low + UNIT_BYTES * (i / 2)));
        return i % 2 ? vh_sra(unit, 8) : vh_sra(vh_sll(unit, 8), 8);
    }
    vh code = vh_and(plane_field(span.low, low, i), vh_set((int16_t)((1 << low) - 1)));
    if (high) {
        vh upper = vh_and(plane_field(span.high, high, i), vh_set((int16_t)((1 << high) - 1)));
        code = vh_or(code, vh_sll(upper, low));
    }
    if (t.lookup) code = vh_lookup(iq4_from_zero, code);
    return t.offset ? vh_sub(code, vh_set((int16_t)t.offset)) : code;
}

V_INLINE const uint8_t *mins_at(code_traits t, packed_block block)
{
    return block.side + GROUP_ROWS * scale_rows(t);
}

V_INLINE const uint16_t *d_at(code_traits t, packed_block block)
{
    return (const uint16_t *)(mins_at(t, block) + min_bytes(t));
}

/* The minima that belong to sums 2i and 2i + 1. */
V_INLINE vh min_pair(code_traits t, packed_block block, int i)
{
    const uint8_t *mins = mins_at(t, block);
    return t.sub_block == 16 ? vh_load_u8(mins + 32 * i) : vh_load_u8_twice(mins + 16 * i);
}

/* y[row] += (block . q) of one token, from the exact sums. */
V_INLINE vf add_block(code_traits t, packed_block block, vi dot, vi min_dot, float d, vf y)
{
    const uint16_t *scales = d_at(t, block);
    y = vf_fma(vf_from_vi(dot), vf_mul(vf_load_f16(scales), vf_set(d)), y);
    if (t.mins == NO_MINS) return y;
    vf m = vf_mul(vf_load_f16(scales + GROUP_ROWS), vf_set(t.mins == MIN_ADDED ? d : -d));
    return vf_fma(vf_from_vi(min_dot), m, y);
}

/* The sum of min * q: for MIN_ADDED the one minimum counts 1. */
V_INLINE vi min_dots(code_traits t, packed_block block, const int16_t *sums)
{
    if (t.mins == MIN_ADDED) return vi_set(sums[0] + sums[1]);
    vi dot = vi_zero();
    for (int i = 0; i < 8; i++) dot = vi_dot(dot, min_pair(t, block, i), vh_broadcast2(sums + 2 * i));
    return dot;
}

/* One block of a group times n_tokens <= V_DOT_TOKENS tokens, added to y [n_tokens, 16]. A sub-block
 * is summed in `chains` parts, so that the products of one token do not wait for each other. */
V_INLINE void dot_block(code_traits t, packed_block block, block_activations x, int n_tokens,
                        float *y)
{
    enum { MOST_CHAINS = 4 };
    const int chains = n_tokens == 1 ? 4 : 1, pairs = t.sub_block / 2;
    const int8_t *scales = (const int8_t *)block.side;
    vi total[V_DOT_TOKENS];
    for (int k = 0; k < n_tokens; k++) total[k] = vi_zero();
    for (int s = 0; s < t.block / SPAN; s++) {
        packed_block span = span_at(t, block, s);
        const int16_t *q = x.q + s * SPAN;
        for (int line = 0; line < plane_bytes(t, t.bits) * SPAN / t.block; line += UNIT_BYTES)
            V_PREFETCH(block.low + plane_bytes(t, t.bits) * SPAN / t.block * s + line
                       + PREFETCH_BYTES);
        vi dot[V_DOT_TOKENS][MOST_CHAINS];
        V_UNROLL
        for (int i = 0; i < SPAN / 2; i++) {
            vh w = code_pair(t, span, i);
            for (int k = 0; k < n_tokens; k++) {
                vi *sum = &dot[k][i % chains];
                vi before = i % pairs < chains ? vi_zero() : *sum;
                *sum = vi_dot(before, w, vh_broadcast2(q + k * t.block + 2 * i));
            }
            if (i % pairs != pairs - 1) continue;
            for (int k = 0; k < n_tokens; k++) {
                for (int c = 1; c < chains; c++) dot[k][0] = vi_add(dot[k][0], dot[k][c]);
                if (scale_rows(t)) dot[k][0] = vi_mul(dot[k][0], vi_load_i8(scales));
                total[k] = vi_add(total[k], dot[k][0]);
            }
            scales += GROUP_ROWS;
        }
    }
    for (int k = 0; k < n_tokens; k++) {
        vi mins = t.mins == NO_MINS ? vi_zero() : min_dots(t, block, x.sums + k * (t.block / 16));
        vf_store(y + k * UNIT_ROWS,
                 add_block(t, block, total[k], mins, x.d[k], vf_load(y + k * UNIT_ROWS)));
    }
}

/* A block as int16 codes with the scales multiplied in: [block / 2][16 rows][2], in L1. */
typedef struct {
    _Alignas(64) int16_t codes[128][32];
    _Alignas(64) int16_t mins[8][32];
} block_tile;

V_INLINE void unpack_block(code_traits t, packed_block block, block_tile *tile)
{
    const int pairs = t.sub_block / 2;
    const int8_t *scales = (const int8_t *)block.side;
    for (int s = 0; s < t.block / SPAN; s++) {
        packed_block span = span_at(t, block, s);
        vh scale = vh_set(1);
        V_UNROLL
        for (int i = 0; i < SPAN / 2; i++) {
            vh w = code_pair(t, span, i);
            if (scale_rows(t) && i % pairs == 0) {
                scale = vh_load_i8_twice(scales);
                scales += GROUP_ROWS;
            }
            if (scale_rows(t)) w = vh_mul(w, scale);
            vh_store(tile->codes[s * (SPAN / 2) + i], w);
        }
    }
    if (t.mins == MINS_SUBTRACTED)
        for (int i = 0; i < 8; i++) vh_store(tile->mins[i], min_pair(t, block, i));
}

V_INLINE void tile_tokens(code_traits t, const block_tile *tile, packed_block block,
                          block_activations x, int n_tokens, float *y)
{
    vi dot[V_TILE_TOKENS], mins[V_TILE_TOKENS];
    for (int k = 0; k < n_tokens; k++) dot[k] = vi_zero();
    for (int i = 0; i < t.block / 2; i++) {
        vh w = vh_load(tile->codes[i]);
        for (int k = 0; k < n_tokens; k++)
            dot[k] = vi_dot(dot[k], w, vh_broadcast2(x.q + t.block * k + 2 * i));
    }
    for (int k = 0; k < n_tokens; k++) {
        const int16_t *sums = x.sums + t.block / 16 * k;
        mins[k] = t.mins == MIN_ADDED ? vi_set(sums[0] + sums[1]) : vi_zero();
        if (t.mins == MINS_SUBTRACTED)
            for (int i = 0; i < 8; i++)
                mins[k] = vi_dot(mins[k], vh_load(tile->mins[i]), vh_broadcast2(sums + 2 * i));
        float *out = y + k * UNIT_ROWS;
        vf_store(out, add_block(t, block, dot[k], mins[k], x.d[k], vf_load(out)));
    }
}

/* y [n_tokens, UNIT_ROWS] of one group. */
V_INLINE void quantised_unit(code_traits t, const weight_record *weight, const activations *a,
                             int first_row, float *y)
{
    const enum activation kind = t.block == 256 ? ACTIVATION_Q256 : ACTIVATION_Q32;
    const int n = a->n_tokens, n_blocks = weight->n_in / t.block;
    const uint8_t *group = (const uint8_t *)weight->data
                           + (size_t)(first_row / GROUP_ROWS) * group_bytes(t, weight->n_in);
    for (int k = 0; k < n; k++) vf_store(y + k * UNIT_ROWS, vf_zero());
    for (int b = 0; b < n_blocks; b++) {
        const packed_block block = block_at(t, group, n_blocks, b);
        const size_t at = (size_t)b * (size_t)n;
        block_activations x = {
            a->quantised[kind].q + at * (size_t)t.block,
            a->quantised[kind].d + at,
            a->quantised[kind].sums + at * (size_t)(t.block / 16),
        };
#define FROM(k) ((block_activations){x.q + t.block * (k), x.d + (k), x.sums + t.block / 16 * (k)})
        int k = 0;
        if (n < V_TILE_TOKENS) {
            for (; k + V_DOT_TOKENS <= n; k += V_DOT_TOKENS)
                dot_block(t, block, FROM(k), V_DOT_TOKENS, y + k * UNIT_ROWS);
            for (; k < n; k++) dot_block(t, block, FROM(k), 1, y + k * UNIT_ROWS);
        } else {
            block_tile tile;
            unpack_block(t, block, &tile);
            for (; k + V_TILE_TOKENS <= n; k += V_TILE_TOKENS)
                tile_tokens(t, &tile, block, FROM(k), V_TILE_TOKENS, y + k * UNIT_ROWS);
            for (; k < n; k++) tile_tokens(t, &tile, block, FROM(k), 1, y + k * UNIT_ROWS);
        }
#undef FROM
    }
}
