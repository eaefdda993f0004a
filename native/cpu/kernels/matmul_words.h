/* Products of a block by int16: codes of few tokens as they come from the planes, times the scale of
 * their sum; of many with the scales multiplied in, unpacked to L1 and used for V_TILE_TOKENS tokens at
 * a time.
 */

#ifndef V_BYTES
/* What the offset comes to in a sub-block of token k: it is not subtracted from every code. */
V_INLINE vi offset_dot(code_traits t, block_activations x, int k, int sub_block)
{
    return t.offset ? vi_set(-t.offset * sub_block_sum(t, x, k, sub_block)) : vi_zero();
}

/* One block of a group and one token, or two, added to y [n_tokens, 16]. A sub-block is summed in
 * four chains, so that the products do not wait for each other; its scale is multiplied with the sum. */
V_INLINE void dot_block(code_traits t, packed_block block, int into_l2, block_activations x,
                        int n_tokens, float *y)
{
    enum { CHAINS = 4, MOST_TOKENS = 2 };
    const int chains = CHAINS / n_tokens, pairs = t.sub_block / 2;
    vi total[MOST_TOKENS];
    for (int k = 0; k < n_tokens; k++) total[k] = vi_zero();
    for (int s = 0; s < t.block / SPAN; s++) {
        packed_block span = span_at(t, block, s);
        const int16_t *q = x.q + s * SPAN;
        vi dot[MOST_TOKENS][CHAINS];
        plane_units units;
        V_UNROLL
        for (int i = 0; i < SPAN / 2; i++) {
            prefetch_ahead(t, block, into_l2, s, t.block / SPAN, i, SPAN / 2);
            vh w = code_pair(t, span, i, &units);
            for (int k = 0; k < n_tokens; k++) {
                vi *sum = &dot[k][i % chains];
                vi before = i % pairs == 0 ? offset_dot(t, x, k, (s * SPAN + 2 * i) / t.sub_block)
                            : i % pairs < chains ? vi_zero()
                                                 : *sum;
                *sum = vi_dot(before, w, vh_broadcast2(q + k * t.block + 2 * i));
            }
            if (i % pairs != pairs - 1) continue;
            for (int k = 0; k < n_tokens; k++) {
                for (int c = 1; c < chains; c++) dot[k][0] = vi_add(dot[k][0], dot[k][c]);
                if (has_scales(t)) dot[k][0] = vi_mul(dot[k][0], sub_block_scale(t, block, s, 2 * i));
                total[k] = vi_add(total[k], dot[k][0]);
            }
        }
    }
    const block_end end = end_of(t, block);
    for (int k = 0; k < n_tokens; k++) end_block(t, &end, x, k, total[k], y + k * GROUP_ROWS);
}
#endif

/* A block of one or two groups and 4 or 8 tokens, added to y [groups, all tokens, 16]. Scales are
 * multiplied into the codes, which costs one product for all tokens and leaves one sum a token and
 * group. The sums have names of their own, since compilers do not keep arrays of this size in
 * registers. */
V_INLINE void dot_tokens(code_traits t, const packed_block *blocks, int n_groups,
                         block_activations x, int n_tokens, float *y, size_t group_stride)
{
#define EACH_TOKEN(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define BEGIN(k) vi first_##k = vi_zero(), second_##k = vi_zero();
    EACH_TOKEN(BEGIN)
#undef BEGIN
    for (int s = 0; s < t.block / SPAN; s++) {
        packed_block spans[2];
        for (int g = 0; g < n_groups; g++) spans[g] = span_at(t, blocks[g], s);
        span_scales scales[2];
        for (int g = 0; g < n_groups; g++) scales[g] = scales_of(t, blocks[g], s);
        plane_units units[2];
        V_UNROLL
        for (int i = 0; i < SPAN / 2; i++) {
            for (int g = 0; g < n_groups; g++)
                prefetch_ahead(t, blocks[g], 1, s, t.block / SPAN, i, SPAN / 2);
            vh w = scaled_pair(t, spans[0], scales[0], i, &units[0]), v = w;
            if (n_groups > 1) v = scaled_pair(t, spans[1], scales[1], i, &units[1]);
#define DOT(k)                                                                                     \
    if (k < n_tokens) {                                                                            \
        vh pair = vh_broadcast2(x.q + t.block * k + s * SPAN + 2 * i);                             \
        first_##k = vi_dot_on(first_##k, w, pair);                                                 \
        if (n_groups > 1) second_##k = vi_dot_on(second_##k, v, pair);                             \
    }
            EACH_TOKEN(DOT)
#undef DOT
        }
    }
    vi dot[2][8];
#define KEEP(k) dot[0][k] = first_##k, dot[1][k] = second_##k;
    EACH_TOKEN(KEEP)
#undef KEEP
#undef EACH_TOKEN
    for (int g = 0; g < n_groups; g++, y += group_stride) {
        const block_end end = end_of(t, blocks[g]);
        for (int k = 0; k < n_tokens; k++) end_block(t, &end, x, k, dot[g][k], y + k * GROUP_ROWS);
    }
}

#ifndef V_AMX /* which takes the place of what follows */
/* A block as int16 codes with the scales multiplied in: [block / 2][16 rows][2], in L1. */
typedef struct {
    _Alignas(64) int16_t codes[128][32];
} block_tile;

V_INLINE void unpack_block(code_traits t, packed_block block, block_tile *tile)
{
    for (int s = 0; s < t.block / SPAN; s++) {
        packed_block span = span_at(t, block, s);
        const span_scales scales = scales_of(t, block, s);
        plane_units units;
        V_UNROLL
        for (int i = 0; i < SPAN / 2; i++) {
            prefetch_ahead(t, block, 1, s, t.block / SPAN, i, SPAN / 2);
            vh_store(tile->codes[s * (SPAN / 2) + i], scaled_pair(t, span, scales, i, &units));
        }
    }
}

/* Unpacked blocks of one or two groups times n_tokens tokens, added to y [groups, all tokens, 16]: a
 * pair of activations that was loaded is used for both. The sums have names of their own, since
 * compilers do not keep arrays of this size in registers. */
V_INLINE void tile_tokens(code_traits t, const block_tile *tiles, const packed_block *blocks,
                          int n_groups, block_activations x, int n_tokens, float *y,
                          size_t group_stride)
{
#define EACH_TOKEN(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
    static_assert(V_TILE_TOKENS <= 12 && V_TILE_GROUPS <= 2, "names of the sums");
#define BEGIN(k) vi first_##k = vi_zero(), second_##k = vi_zero();
    EACH_TOKEN(BEGIN)
#undef BEGIN
    for (int i = 0; i < t.block / 2; i++) {
        vh w = vh_load(tiles[0].codes[i]), v = n_groups > 1 ? vh_load(tiles[1].codes[i]) : w;
#define DOT(k)                                                                                     \
    if (k < n_tokens) {                                                                            \
        vh pair = vh_broadcast2(x.q + t.block * k + 2 * i);                                        \
        first_##k = vi_dot_on(first_##k, w, pair);                                                 \
        if (n_groups > 1) second_##k = vi_dot_on(second_##k, v, pair);                             \
    }
        EACH_TOKEN(DOT)
#undef DOT
    }
    vi dot[2][12];
#define KEEP(k) dot[0][k] = first_##k, dot[1][k] = second_##k;
    EACH_TOKEN(KEEP)
#undef KEEP
    V_OPAQUE(dot);
#undef EACH_TOKEN
    for (int g = 0; g < n_groups; g++, y += group_stride) {
        const block_end end = end_of(t, blocks[g]);
        for (int k = 0; k < n_tokens; k++) end_block(t, &end, x, k, dot[g][k], y + k * GROUP_ROWS);
    }
}
#endif
