/* Products of unpacked blocks with many tokens on AMX: 16 tokens times 16 rows of weights times 64
 * weights of bytes an instruction.
 *
 * Activations come in halves, q = 64 high + low (matmul_bytes.h). So do weights with their scales, of at
 * most 13 bits: w = 64 high + low, 0 <= low <= 63, -64 <= high <= 64. The four products of halves go to
 * three sums:
 *
 *     w q = 4096 high high + 64 (high low + low high) + low low
 *
 * Three products would do, by Karatsuba's identity, and were slower: sums of two halves are then a third
 * of what has to be unpacked and of the activations that come from the second-level cache, which is what
 * these kernels wait for.
 *
 * A small block has one scale for all, and its codes less their offset are bytes as they are: two
 * products. All sums are exact.
 */

/* Unpacked: of weights' high halves and low halves, or of a small block's codes, 64 weights of 16 rows in
 * the order of a tile. */
typedef struct {
    _Alignas(64) int8_t codes[2][4][16][64];
} block_tile;

V_INLINE void unpack_halves(code_traits t, packed_block block, packed_block span, int s,
                            block_tile *tile)
{
    const vh low_bytes = vh_set(0xff), six = vh_set(0x3f3f);
    const span_scales scales = scales_of(t, block, s);
    plane_units units;
    V_UNROLL
    for (int i = 0; i < SPAN / 4; i++) {
        prefetch_ahead(t, block, 1, s, t.block / SPAN, i, SPAN / 4);
        vh a = scaled_pair(t, span, scales, 2 * i, &units);
        vh b = scaled_pair(t, span, scales, 2 * i + 1, &units);
        vh low = vh_and(vh_select(low_bytes, a, vh_sll(b, 8)), six);
        vh high = vh_select(low_bytes, vh_sra(a, 6), vh_sll(b, 2));
        const int step = s / 2, row = s % 2 * (SPAN / 4) + i;
        vh_store((int16_t *)tile->codes[0][step][row], high);
        vh_store((int16_t *)tile->codes[1][step][row], low);
    }
}

V_INLINE void unpack_block(code_traits t, packed_block block, block_tile *tile)
{
    for (int s = 0; s < t.block / SPAN; s++) {
        packed_block span = span_at(t, block, s);
        if (t.block == 256) {
            unpack_halves(t, block, span, s, tile);
            continue;
        }
        plane_units units;
        V_UNROLL
        for (int i = 0; i < SPAN / 4; i++) {
            prefetch_ahead(t, block, 1, s, t.block / SPAN, i, SPAN / 4);
            vb code = vb_sub(code_quad(t, span, i, &units), vb_set((int8_t)byte_offset(t)));
            vh_store((int16_t *)tile->codes[0][0][i], code);
        }
    }
}

/* Sums of up to 16 tokens and two groups: 4096, 64 and 1 times which count, or 64 and 1 times. */
typedef struct {
    _Alignas(64) int32_t of[2][3][V_TILE_ROWS][16];
} tile_sums;

/* Asks for the activations of the half after `half` of `step`: 16 lines, one a token, that come from the
 * second-level cache. Behind the last token's are those that the next block begins with. Halves of small
 * blocks share lines. */
V_INLINE void prefetch_half(code_traits t, block_activations x, int n_tokens, int half, int step)
{
    enum { STEPS = 256 / 64 };
    const size_t stride = (size_t)(2 * t.block);
    const int after = step + half;
    const int8_t *then = x.halves + (after < STEPS ? 0 : (size_t)n_tokens * stride)
                         + (1 - half) * t.block + after % STEPS * 64;
    V_UNROLL
    for (int k = 0; t.block == 256 && k < V_TILE_ROWS; k++) V_PREFETCH(then + (size_t)k * stride);
}

V_INLINE void tile_products(code_traits t, const block_tile *tiles, int n_groups,
                            block_activations x, int n_tokens, tile_sums *sums)
{
    const size_t stride = (size_t)(2 * t.block);
    v_sums_zero();
/* half of the activations times `of` the weights, to sum `to` of the first group and `second` of the other */
#define PRODUCTS(of, to, second)                                                                   \
    {                                                                                              \
        V_TILE_LOAD(7, tiles[0].codes[of][step], 64);                                              \
        V_TILE_DOT(to);                                                                            \
        if (n_groups > 1) {                                                                        \
            V_TILE_LOAD(7, tiles[1].codes[of][step], 64);                                          \
            V_TILE_DOT(second);                                                                    \
        }                                                                                          \
    }
    for (int step = 0; step < (t.block + 63) / 64; step++) {
        prefetch_half(t, x, n_tokens, 0, step);
        V_TILE_LOAD(6, x.halves + 64 * step, stride);
        PRODUCTS(0, 0, 3)
        if (t.block == 256) PRODUCTS(1, 1, 4)
        prefetch_half(t, x, n_tokens, 1, step);
        V_TILE_LOAD(6, x.halves + t.block + 64 * step, stride);
        PRODUCTS(0, 1, 4)
        if (t.block == 256) PRODUCTS(1, 2, 5)
    }
#undef PRODUCTS
    V_TILE_STORE(0, sums->of[0][0], 64);
    V_TILE_STORE(1, sums->of[0][1], 64);
    V_TILE_STORE(2, sums->of[0][2], 64);
    if (n_groups == 1) return;
    V_TILE_STORE(3, sums->of[1][0], 64);
    V_TILE_STORE(4, sums->of[1][1], 64);
    V_TILE_STORE(5, sums->of[1][2], 64);
}

V_INLINE vi sum_of_products(code_traits t, const int32_t of[3][V_TILE_ROWS][16], int k)
{
    vi sum = vi_add(vi_sll(vi_load(of[0][k]), HALF_BITS), vi_load(of[1][k]));
    return t.block == 256 ? vi_add(vi_sll(sum, HALF_BITS), vi_load(of[2][k])) : sum;
}

/* Adds n tokens' sums with a block of one or two groups to y [groups, all tokens, 16]. Factors are found
 * once for all tokens; d, which is all that other formats have, stays in a register if it is found here. */
V_INLINE void add_sums(code_traits t, const packed_block *blocks, const block_end *ends, int n_groups,
                       block_activations x, const tile_sums *sums, int n, float *y,
                       size_t group_stride)
{
    vi total[2][V_TILE_ROWS];
    const int together = has_factors(t, &ends[0]);
    for (int g = 0; g < n_groups; g++) {
        block_end end;
        if (!together) find_end(t, blocks[g], 0, &end);
        for (int k = 0; k < n; k++) {
            const vi sum = sum_of_products(t, sums->of[g], k);
            if (together) total[g][k] = sum;
            else end_block(t, &end, x, k, sum, y + (size_t)g * group_stride + k * GROUP_ROWS);
        }
    }
    if (together) end_tokens(t, ends, n_groups, x, n, total[0], total[1], y, group_stride);
}

/* All blocks of n_groups groups and many tokens. The last 16 tokens may be fewer: then the tile of
 * activations has rows that belong to none, and their sums are not used. */
V_INLINE void many_tokens(code_traits t, packed_groups groups, int n_groups, const activations *a,
                          float *y)
{
    const size_t stride = (size_t)a->n_tokens * GROUP_ROWS;
    const v_tile_shapes shapes = v_shapes(V_TILE_ROWS, t.block < 64 ? t.block : 64);
    v_tiles_shape(&shapes);
    for (int b = 0; b < groups.n_blocks; b++) {
        packed_block blocks[V_TILE_GROUPS];
        block_tile tiles[V_TILE_GROUPS];
        block_end ends[V_TILE_GROUPS];
        for (int g = 0; g < n_groups; g++) {
            blocks[g] = block_at(t, groups, g, b);
            unpack_block(t, blocks[g], &tiles[g]);
            find_end(t, blocks[g], 0, &ends[g]);
        }
        V_OPAQUE(tiles);
        for (int first = 0; first < a->n_tokens; first += V_TILE_ROWS) {
            const int left = a->n_tokens - first, n = left < V_TILE_ROWS ? left : V_TILE_ROWS;
            block_activations x = block_of(a, t, groups.first_block + b, first, 1);
            tile_sums sums;
            tile_products(t, tiles, n_groups, x, n, &sums);
            V_OPAQUE(&sums);
            add_sums(t, blocks, ends, n_groups, x, &sums, n, y + first * GROUP_ROWS, stride);
        }
    }
    v_tiles_release();
}
