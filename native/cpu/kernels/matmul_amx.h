/* Products of unpacked blocks with many tokens on AMX: 16 tokens times 16 rows of weights times 64
 * weights of bytes an instruction.
 *
 * Activations come in halves, q = 64 high + low (matmul_bytes.h). So do weights with their scales, of at
 * most 13 bits: w = 64 high + low, 0 <= low <= 63, -64 <= high <= 64. Of the four products Karatsuba's
 * identity leaves three, since sums of two halves still fit a byte:
 *
 *     w q = 4096 high high + 64 ((high + low)(high + low) - high high - low low) + low low
 *
 * A small block has one scale for all, and its codes less their offset are bytes as they are: two
 * products. All sums are exact.
 */

/* Unpacked: of weights' high halves, low halves and their sums, or of a small block's codes, 64 weights
 * of 16 rows in the order of a tile. */
typedef struct {
    _Alignas(64) int8_t codes[3][4][16][64];
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
        vh_store((int16_t *)tile->codes[2][step][row], vb_add(high, low));
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

/* Sums of up to 16 tokens and two groups: with high halves, low halves, and sums of both. */
typedef struct {
    _Alignas(64) int32_t of[2][3][V_TILE_ROWS][16];
} tile_sums;

/* Asks for the activations of the product after the next, where `part` and `step` are this one's: 16
 * lines, one a token, that come from the second-level cache. Behind the last token's are those that the
 * next block begins with. Small blocks have two products a tile, and lines that these share. */
V_INLINE void prefetch_product(code_traits t, block_activations x, int n_tokens, int part, int step)
{
    enum { PARTS = 3, STEPS = 256 / 64 };
    const size_t stride = (size_t)(V_HALVES * t.block);
    const int ahead = PARTS * step + part + 2;
    const int8_t *then = x.halves + (ahead < PARTS * STEPS ? 0 : (size_t)n_tokens * stride)
                         + ahead % PARTS * t.block + ahead / PARTS % STEPS * 64;
    V_UNROLL
    for (int k = 0; t.block == 256 && k < V_TILE_ROWS; k++) V_PREFETCH(then + (size_t)k * stride);
}

V_INLINE void tile_products(code_traits t, const block_tile *tiles, int n_groups,
                            block_activations x, int n_tokens, tile_sums *sums)
{
    const size_t stride = (size_t)(V_HALVES * t.block);
    v_sums_zero();
#define PART(part, second, step)                                                                   \
    {                                                                                              \
        const int of = t.block == 256 ? part : 0;                                                  \
        prefetch_product(t, x, n_tokens, part, step);                                              \
        V_TILE_LOAD(6, x.halves + (part) * t.block + 64 * (step), stride);                         \
        V_TILE_LOAD(7, tiles[0].codes[of][step], 64);                                              \
        V_TILE_DOT(part);                                                                          \
        if (n_groups > 1) {                                                                        \
            V_TILE_LOAD(7, tiles[1].codes[of][step], 64);                                          \
            V_TILE_DOT(second);                                                                    \
        }                                                                                          \
    }
    for (int step = 0; step < (t.block + 63) / 64; step++) {
        PART(0, 3, step)
        PART(1, 4, step)
        if (t.block == 256) PART(2, 5, step)
    }
#undef PART
    V_TILE_STORE(0, sums->of[0][0], 64);
    V_TILE_STORE(1, sums->of[0][1], 64);
    V_TILE_STORE(2, sums->of[0][2], 64);
    if (n_groups == 1) return;
    V_TILE_STORE(3, sums->of[1][0], 64);
    V_TILE_STORE(4, sums->of[1][1], 64);
    V_TILE_STORE(5, sums->of[1][2], 64);
}

/* Adds n tokens' sums with a block of one group to y [n, 16]. */
V_INLINE void add_sums(code_traits t, packed_block block, block_activations x,
                       const int32_t of[3][V_TILE_ROWS][16], int n, float *y)
{
    block_end end;
    find_end(t, block, 0, &end);
    for (int k = 0; k < n; k++) {
        vi high = vi_load(of[0][k]), low = vi_load(of[1][k]), dot = low;
        if (t.block == 256) {
            vi mixed = vi_sub(vi_sub(vi_load(of[2][k]), high), low);
            dot = vi_add(dot, vi_sll(mixed, HALF_BITS));
        }
        dot = vi_add(dot, vi_sll(high, t.block == 256 ? 2 * HALF_BITS : HALF_BITS));
        end_block(t, &end, x, k, dot, y + k * GROUP_ROWS);
    }
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
        for (int g = 0; g < n_groups; g++) {
            blocks[g] = block_at(t, groups, g, b);
            unpack_block(t, blocks[g], &tiles[g]);
        }
        V_OPAQUE(tiles);
        for (int first = 0; first < a->n_tokens; first += V_TILE_ROWS) {
            const int left = a->n_tokens - first, n = left < V_TILE_ROWS ? left : V_TILE_ROWS;
            block_activations x = block_of(a, t, b, first, 1);
            tile_sums sums;
            tile_products(t, tiles, n_groups, x, n, &sums);
            V_OPAQUE(&sums);
            for (int g = 0; g < n_groups; g++)
                add_sums(t, blocks[g], x, sums.of[g], n,
                         y + (size_t)g * stride + first * GROUP_ROWS);
        }
    }
    v_tiles_release();
}
