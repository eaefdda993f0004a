/* Products of a block by bytes, for instruction sets that multiply and add four int8 at a time in
 * each lane (V_BYTES): these take the place of dot_block and tile_tokens of matmul_quantised.h.
 *
 * Codes fit an int8 in every format. Activations of 12 bits do not, but two halves do:
 *
 *     q = 128 high + low      -16 <= high <= 16, -64 <= low <= 63
 *
 * so that a sub-block is 128 (codes . high) + (codes . low), exactly, times its scale.
 *
 * A unit of a plane has two neighbouring weights of each row in two int16, whose bytes hold weights
 * that are apart: one shift and one mask of a unit of 4-bit codes give, of every row, the weights
 * 0 4 1 5 or 2 6 3 7. So that is the order of four codes here, for all formats, and activations are
 * put into it once (store_activations).
 */

/* Fields f and f + 2 of a plane, in the low and in the high byte of every int16. */
V_INLINE vb two_fields(const uint8_t *plane, int width, int f)
{
    const int fields = 16 / width, at = width * (f % fields), up = 8 - at - 2 * width;
    const int16_t *unit = (const int16_t *)(plane + UNIT_BYTES * (f / fields));
    const int mask = (1 << width) - 1;
    vh x = vh_load(unit);
    if (width == 8 && f % 2) return vb_high_bytes(x, vh_load(unit + UNIT_BYTES / 2));
    if (width == 8) return vb_low_bytes(x, vh_load(unit + UNIT_BYTES / 2));
    if (width == 4) return vb_of(vh_and(vh_srl(x, at), vh_set(0x0f0f)));
    vh far = up < 0 ? vh_srl(x, -up) : vh_sll(x, up);
    return vb_of(vh_or(vh_and(vh_srl(x, at), vh_set((int16_t)mask)),
                       vh_and(far, vh_set((int16_t)(mask << 8)))));
}

/* Four codes of 16 rows, less the offset: number i of the eight quads of a span. */
V_INLINE vb code_quad(code_traits t, packed_block span, int i)
{
    const int low = low_plane_width(t), high = high_plane_width(t), f = i / 2 * 4 + i % 2;
    vb code = two_fields(span.low, low, f);
    if (high) code = vb_or(code, vb_sll(two_fields(span.high, high, f), low));
    if (t.lookup) code = vb_lookup(iq4_from_zero, code);
    return t.offset ? vb_sub(code, vb_set((int8_t)t.offset)) : code;
}

/* A block as int8 codes without scales: [block / 4][16 rows][4], in L1. */
typedef struct {
    _Alignas(64) int8_t codes[64][64];
} block_tile;

V_INLINE void unpack_block(code_traits t, packed_block block, block_tile *tile)
{
    for (int s = 0; s < t.block / SPAN; s++) {
        packed_block span = span_at(t, block, s);
        prefetch_span(t, block, s);
        V_UNROLL
        for (int i = 0; i < SPAN / 4; i++)
            vb_store(tile->codes[s * (SPAN / 4) + i], code_quad(t, span, i));
    }
}

/* total + scale * dot, of the sub-block whose scales these are. */
V_INLINE vi add_sub_block(code_traits t, const int8_t *scales, vi dot, vi total)
{
    return vi_add(total, scale_rows(t) ? vi_mul(dot, vi_load_i8(scales)) : dot);
}

/* One block of a group times one token, added to y [16], with the codes straight from the planes. */
V_INLINE void dot_block(code_traits t, packed_block block, block_activations x, int n_tokens,
                        float *y)
{
    static_assert(V_DOT_TOKENS == 1, "one token at a time");
    (void)n_tokens;
    const int quads = t.sub_block / 4;
    const int8_t *scales = (const int8_t *)block.side;
    vi total = vi_zero(), high = vi_zero(), low = vi_zero();
    for (int s = 0; s < t.block / SPAN; s++) {
        packed_block span = span_at(t, block, s);
        const int8_t *q = (const int8_t *)x.q + s * SPAN;
        prefetch_span(t, block, s);
        V_UNROLL
        for (int i = 0; i < SPAN / 4; i++) {
            vb w = code_quad(t, span, i);
            high = vi_dot4(i % quads ? high : vi_zero(), w, vb_broadcast4(q + 4 * i));
            low = vi_dot4(i % quads ? low : vi_zero(), w, vb_broadcast4(q + t.block + 4 * i));
            if (i % quads != quads - 1) continue;
            total = add_sub_block(t, scales, vi_add(vi_sll(high, 7), low), total);
            scales += GROUP_ROWS;
        }
    }
    end_block(t, block, x, 0, total, y);
}

/* An unpacked block of one group times n_tokens tokens, added to y [n_tokens, 16]. The high halves
 * of a sub-block come first, so that a token needs one set of sums, and its total. */
V_INLINE void tile_tokens(code_traits t, const block_tile *tiles, const packed_block *blocks,
                          int n_groups, block_activations x, int n_tokens, float *y,
                          size_t group_stride)
{
    static_assert(V_TILE_GROUPS == 1, "one group at a time");
    (void)n_groups;
    (void)group_stride;
    const int quads = t.sub_block / 4;
    vi total[V_TILE_TOKENS], dot[V_TILE_TOKENS];
    for (int k = 0; k < n_tokens; k++) total[k] = vi_zero();
    for (int b = 0; b < t.block / t.sub_block; b++) {
        const int8_t(*codes)[64] = tiles->codes + b * quads;
        for (int k = 0; k < n_tokens; k++) dot[k] = vi_zero();
        for (int half = 0; half < 2; half++) {
            const int8_t *q = (const int8_t *)x.q + half * t.block + b * t.sub_block;
            for (int k = 0; half && k < n_tokens; k++) dot[k] = vi_sll(dot[k], 7);
            V_KEEP_LOOP /* unrolled, gcc loads so far ahead that nothing stays in registers */
            for (int i = 0; i < quads; i++) {
                vb w = vb_load(codes[i]);
                for (int k = 0; k < n_tokens; k++)
                    dot[k] = vi_dot4(dot[k], w, vb_broadcast4(q + 2 * k * t.block + 4 * i));
            }
        }
        const int8_t *scales = (const int8_t *)blocks->side + b * GROUP_ROWS;
        for (int k = 0; k < n_tokens; k++) total[k] = add_sub_block(t, scales, dot[k], total[k]);
    }
    for (int k = 0; k < n_tokens; k++) end_block(t, blocks[0], x, k, total[k], y + k * GROUP_ROWS);
}
