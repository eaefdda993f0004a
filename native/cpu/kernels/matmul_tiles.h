/* Products of unpacked blocks with many tokens by int16.
 *
 * A block is unpacked to L1 once, scales multiplied into its codes, and used for V_TILE_TOKENS tokens at
 * a time, whose activations lie as they are wanted, pair by pair (quantise_row). Two groups of rows side
 * by side share every pair of activations, and the minima are more of the same: pairs that are
 * multiplied with the sums of q.
 *
 * What counts is how many instructions a product takes, not only on which ports: where two threads share
 * a core, as on most rented machines, each is given two of them a cycle instead of four.
 */

typedef struct {
    _Alignas(64) int16_t codes[128][32]; /* [block / 2][16 rows][2] */
    int16_t minima[8][32];               /* [minimum_pairs][16 rows][2] */
    int16_t minima32[4][32];             /* those of sub-blocks of 32, once each */
    float d[16], m[16];                  /* what products with these and those are multiplied with */
} block_tile;

/* How many pairs of q's sums a block's minima are multiplied with. */
V_INLINE int minimum_pairs(code_traits t)
{
    return t.mins == MINS_SUBTRACTED ? 8 : t.mins == MIN_ADDED ? 1 : 0;
}

V_INLINE void unpack_block(code_traits t, packed_block block, block_tile *tile)
{
    for (int s = 0; s < t.block / SPAN; s++) {
        span_pairs pairs = {.span = span_at(t, block, s)};
        take_scales(t, block, s, 0, SPAN / t.sub_block, 1, &pairs);
        V_UNROLL
        for (int i = 0; i < SPAN / 2; i++) {
            prefetch_ahead(t, block, 1, s, t.block / SPAN, i, SPAN / 2);
            vh_store(tile->codes[s * (SPAN / 2) + i], next_pair(t, &pairs, i, 1, 0));
        }
    }
    block_end end;
    find_end(t, block, 0, &end);
    vf_store(tile->d, end.d);
    if (t.mins != NO_MINS) vf_store(tile->m, end.m);
    V_UNROLL
    for (int i = 0; i < minimum_pairs(t); i++)
        vh_store(tile->minima[i], t.mins == MIN_ADDED ? vh_set(1) : end.factors[i]);
    V_UNROLL
    for (int i = 0; t.mins == MINS_SUBTRACTED && t.sub_block == 32 && i < 4; i++)
        vh_store(tile->minima32[i], end.factors[2 * i]);
}

/* A block's pairs of one or two groups, and what their sums are multiplied with. */
typedef struct {
    const int16_t (*pairs[2])[32];
    const float *scales[2];
} tile_side;

/* d times scales times the sums of n_pairs products of n_tokens tokens, added to y [groups, all tokens,
 * 16]; q is [n_pairs, n_tokens, 2]. The sums have names of their own, since compilers do not keep arrays
 * of this size in registers; nor do they keep 24 with names there (v_tile_kernel). */
V_INLINE void add_products(tile_side side, int n_groups, int n_pairs, const int16_t *q, const float *d,
                           int n_tokens, float *y, size_t group_stride)
{
    float *z = y + (size_t)(n_groups - 1) * group_stride;
#ifdef V_TILE_KERNEL
    if (n_groups == 2 && n_tokens == 12) {
        v_tile_kernel(side.pairs[0], side.pairs[1], n_pairs, q, d, side.scales[0], side.scales[1], y, z);
        return;
    }
#endif
#define EACH_TOKEN(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
    static_assert(V_TILE_TOKENS <= 12 && V_TILE_GROUPS <= 2, "names of the sums");
#define BEGIN(k) vi first_##k = vi_zero(), second_##k = vi_zero();
    EACH_TOKEN(BEGIN)
#undef BEGIN
#define FOUR(k, l, m, n)                                                                           \
    if (k < n_tokens)                                                                              \
        vi_dot_four(&first_##k, &first_##l, &first_##m, &first_##n, &second_##k, &second_##l,      \
                    &second_##m, &second_##n, v, w, q + 2 * k, 2);
#define DOT(k)                                                                                     \
    if (k < n_tokens) first_##k = vi_dot_at(first_##k, v, q + 2 * k);                              \
    if (k < n_tokens && n_groups > 1) second_##k = vi_dot_at(second_##k, w, q + 2 * k);
    for (int i = 0; i < n_pairs; i++, q += 2 * n_tokens) {
        const vh v = vh_load(side.pairs[0][i]), w = n_groups > 1 ? vh_load(side.pairs[1][i]) : v;
#if V_TILE_GROUPS > 1
        if (n_groups > 1 && n_tokens % 4 == 0) {
            FOUR(0, 1, 2, 3)
            FOUR(4, 5, 6, 7)
            continue;
        }
#endif
        EACH_TOKEN(DOT)
    }
#undef FOUR
#undef DOT
    const vf scale = vf_load(side.scales[0]), other = vf_load(side.scales[n_groups - 1]);
#define ADD(to, k, sum, scale)                                                                     \
    vf_store(to + k * GROUP_ROWS, vf_fma(vf_from_vi(sum), vf_mul(scale, vf_set(d[k])),             \
                                         vf_load(to + k * GROUP_ROWS)));
#define END(k)                                                                                     \
    if (k < n_tokens) {                                                                            \
        ADD(y, k, first_##k, scale)                                                                \
        if (n_groups > 1) ADD(z, k, second_##k, other)                                             \
    }
    EACH_TOKEN(END)
#undef END
#undef ADD
#undef EACH_TOKEN
}

/* Unpacked blocks of one or two groups times n_tokens tokens, a tile of them, added to y. */
V_INLINE void tile_tokens(code_traits t, const block_tile *tiles, const packed_block *blocks,
                          int n_groups, block_activations x, int n_tokens, float *y,
                          size_t group_stride)
{
    (void)blocks;
    const block_tile *a = tiles, *b = tiles + n_groups - 1;
    const tile_side codes = {{a->codes, b->codes}, {a->d, b->d}};
    add_products(codes, n_groups, t.block / 2, x.q, x.d, n_tokens, y, group_stride);
    if (t.mins == NO_MINS) return;
    const int once = sums32_do(t, x, n_tokens);
    const tile_side minima = {{once ? a->minima32 : a->minima, once ? b->minima32 : b->minima},
                              {a->m, b->m}};
    add_products(minima, n_groups, once ? 4 : minimum_pairs(t), once ? x.sums32 : x.sums, x.d,
                 n_tokens, y, group_stride);
}
