/* Products of a block with few tokens by int16: codes as they come from the planes, times the scale of
 * their sum, or with the scales multiplied in, which one product does for all tokens.
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
    block_end end;
    find_end(t, block, 0, &end);
    for (int k = 0; k < n_tokens; k++) end_block(t, &end, x, k, total[k], y + k * GROUP_ROWS);
}
#endif

/* A span's weights, pair by pair, as they come in sums over a whole block. With bytes, codes and a scale
 * meet in a multiply-add of bytes of which every second one is zero: so four codes are unpacked at once,
 * and their offset is still in them unless that is wanted off (`centred`). */
typedef struct {
    packed_block span;
    plane_units units;
    span_scales scales;
#ifdef V_BYTES
    vh even[2], odd[2], offset[2]; /* of each sub-block: its scale in every second byte; its offset */
    vb codes;
#endif
} span_pairs;

V_INLINE int by_bytes(code_traits t)
{
#ifdef V_BYTES
    return has_scales(t);
#else
    (void)t;
    return 0;
#endif
}

/* How much codes are too large by that next_pair gives and are not centred. Sums with them may pass 2^31
 * and come back when the offset is taken off: vectors of int32 wrap. */
V_INLINE int words_offset(code_traits t)
{
#ifdef V_BYTES
    if (by_bytes(t)) return byte_offset(t);
#endif
    return 0;
}

/* Takes the scales of n sub-blocks of a span from weight `first` on. */
V_INLINE void take_scales(code_traits t, packed_block block, int span, int first, int n, int centred,
                          span_pairs *pairs)
{
#ifdef V_BYTES
    for (int i = 0; by_bytes(t) && i < n; i++) {
        const vh scale = scale_pair(t, block, pair_of(t, span, first + i * t.sub_block));
        pairs->even[i] = vh_even_bytes(scale, span % 2);
        pairs->odd[i] = vh_sll(pairs->even[i], 8);
        if (byte_offset(t) && centred)
            pairs->offset[i] = vh_mul(vh_twice(scale, span % 2), vh_set((int16_t)byte_offset(t)));
    }
#else
    (void)first, (void)n, (void)centred;
#endif
    if (!by_bytes(t)) pairs->scales = scales_of(t, block, span);
}

/* Pair i; i = 0, 1, 2, ... centred: with the offset taken off, for what many tokens use. carried: high
 * bits, one a code, are in units.high, and not to be loaded. */
V_INLINE vh next_pair(code_traits t, span_pairs *pairs, int i, int centred, int carried)
{
#ifdef V_BYTES
    if (by_bytes(t)) {
        const int sub_block = 2 * i / t.sub_block, quad = i / 2;
        if (i % 2 == 0)
            pairs->codes = carried ? whole_quad(t, low_quad(t, pairs->span, quad, &pairs->units),
                                                moved(pairs->units.high, quad, low_plane_width(t)))
                                   : code_quad(t, pairs->span, quad, &pairs->units);
        const vh scales = i % 2 ? pairs->odd[sub_block] : pairs->even[sub_block];
        const vh w = vh_dot_bytes(pairs->codes, scales);
        return byte_offset(t) && centred ? vh_sub(w, pairs->offset[sub_block]) : w;
    }
#endif
    (void)centred, (void)carried;
    return scaled_pair(t, pairs->span, pairs->scales, i, &pairs->units);
}

#if V_TILE_GROUPS > 1
/* end_block of two groups and four tokens, from token k on; once: with sums over 32. */
V_INLINE void end_four(code_traits t, const block_end *ends, block_activations x, int once, int k,
                       const vi *first, const vi *second, float *y, size_t group_stride)
{
    const int to_total = t.mins != MINS_SUBTRACTED, stride = sums_stride(t, x);
#define EACH(DO) DO(0) DO(1) DO(2) DO(3)
#define BEGIN(k) vi x##k = to_total ? first[k] : vi_zero(), y##k = to_total ? second[k] : vi_zero();
    EACH(BEGIN)
#undef BEGIN
#define FACTORS(n, each, sums, stride)                                                             \
    V_UNROLL                                                                                       \
    for (int i = 0; i < (n); i++)                                                                  \
        vi_dot_four(&x0, &x1, &x2, &x3, &y0, &y1, &y2, &y3, ends[0].factors[(each) * i],           \
                    ends[1].factors[(each) * i], (sums) + k * (stride) + 2 * i * x.tile, stride);
    if (once) FACTORS(4, 2, x.sums32, x.tile > 1 ? stride : stride / 2)
    else FACTORS(8, 1, x.sums, stride)
#undef FACTORS
#define ADD(j)                                                                                     \
    add_block(t, &ends[0], x, k + j, to_total ? x##j : first[j], x##j, y + j * GROUP_ROWS);        \
    add_block(t, &ends[1], x, k + j, to_total ? y##j : second[j], y##j,                            \
              y + group_stride + j * GROUP_ROWS);
    EACH(ADD)
#undef ADD
#undef EACH
}
#endif

/* end_block of one or two groups and n_tokens, whose sums are `first` and `second`. */
V_INLINE void end_tokens(code_traits t, const block_end *ends, int n_groups, block_activations x,
                         int n_tokens, const vi *first, const vi *second, float *y,
                         size_t group_stride)
{
    int begin = 0;
#if V_TILE_GROUPS > 1
    if (n_groups > 1 && has_factors(t, &ends[0])) {
        const int once = sums32_do(t, x, n_tokens);
        for (; begin + 4 <= n_tokens; begin += 4)
            end_four(t, ends, x, once, begin, first + begin, second + begin, y + begin * GROUP_ROWS,
                     group_stride);
    }
#endif
    for (int k = begin; k < n_tokens; k++)
        end_block(t, &ends[0], x, k, first[k], y + k * GROUP_ROWS);
    for (int k = begin; n_groups > 1 && k < n_tokens; k++)
        end_block(t, &ends[1], x, k, second[k], y + group_stride + k * GROUP_ROWS);
}

/* How many pairs of a span dot_tokens writes out: for 8 tokens half of them, where those are whole units
 * and have one scale. Where two threads share a core, some have room for 3 KB of decoded code, and what
 * stands behind this loop comes again as well. */
V_INLINE int written_pairs(code_traits t, int n_tokens)
{
    const int in_halves = by_bytes(t) || (t.bits == 4 && !has_scales(t));
    return n_tokens > 4 && in_halves ? SPAN / 4 : SPAN / 2;
}

/* A block of one or two groups and a tile of 4 or 8 tokens, added to y [groups, all tokens, 16]. Scales
 * are multiplied into the codes, which costs one product for all tokens and leaves one sum a token and
 * group. The sums have names of their own, since compilers do not keep arrays of this size in
 * registers. */
V_INLINE void dot_tokens(code_traits t, const packed_block *blocks, int n_groups,
                         block_activations x, int n_tokens, float *y, size_t group_stride)
{
    const int n_pairs = written_pairs(t, n_tokens), turns = SPAN / 2 / n_pairs;
    const int carried = turns > 1 && high_plane_width(t) == 1; /* a unit of a span */
    const int scale_a_turn = turns > 1 && t.sub_block == 16;
    const int low_bytes = UNIT_BYTES * SPAN * low_plane_width(t) / 32 / turns;
    const int high_bytes = UNIT_BYTES * SPAN * high_plane_width(t) / 32 / turns;
#define EACH_TOKEN(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define BEGIN(k) vi first_##k = vi_zero(), second_##k = vi_zero();
    EACH_TOKEN(BEGIN)
#undef BEGIN
    const int16_t *q = x.q;
    for (int s = 0; s < t.block / SPAN; s++) {
        span_pairs pairs[2];
        for (int g = 0; g < n_groups; g++) {
            pairs[g].span = span_at(t, blocks[g], s);
            if (!scale_a_turn) take_scales(t, blocks[g], s, 0, SPAN / t.sub_block, 0, &pairs[g]);
            if (carried) pairs[g].units.high = vh_load((const int16_t *)pairs[g].span.high);
        }
        for (int turn = 0; turn < turns; turn++) {
            /* or gcc counts a pointer up for every second product, and writes two turns out */
            __asm__("" : "+r"(q), "+r"(turn));
            vh now[2], next[2];
            for (int g = 0; g < n_groups; g++) {
                if (scale_a_turn)
                    take_scales(t, blocks[g], s, turn * t.sub_block, 1, 0, &pairs[g]);
                next[g] = next_pair(t, &pairs[g], 0, 0, carried);
            }
            V_UNROLL
            for (int i = 0; i < n_pairs; i++) {
                for (int g = 0; g < n_groups; g++) {
                    prefetch_ahead(t, blocks[g], 1, s * turns + turn, t.block / SPAN * turns, i, n_pairs);
                    now[g] = next[g];
                    if (i + 1 < n_pairs) next[g] = next_pair(t, &pairs[g], i + 1, 0, carried);
                }
#define FOUR(k, l, m, n)                                                                           \
    vi_dot_four(&first_##k, &first_##l, &first_##m, &first_##n, &second_##k, &second_##l,          \
                &second_##m, &second_##n, now[0], now[1], q + 2 * (i * n_tokens + k), 2);
#define DOT(k)                                                                                     \
    if (k < n_tokens) first_##k = vi_dot_on(first_##k, now[0], vh_broadcast2(q + 2 * (i * n_tokens + k)));
#if V_TILE_GROUPS > 1
                if (n_groups > 1) {
                    FOUR(0, 1, 2, 3)
                    if (n_tokens > 4) FOUR(4, 5, 6, 7)
                    continue;
                }
#endif
                EACH_TOKEN(DOT)
#undef FOUR
#undef DOT
            }
            q += 2 * n_pairs * n_tokens;
            for (int g = 0; g < n_groups; g++) {
                pairs[g].span.low += low_bytes;
                if (carried) pairs[g].units.high = vh_srl(pairs[g].units.high, n_pairs / 2);
                else pairs[g].span.high += high_bytes;
            }
        }
    }
    vi sums[2][8];
#define KEEP(k) sums[0][k] = first_##k, sums[1][k] = second_##k;
    EACH_TOKEN(KEEP)
#undef KEEP
#undef EACH_TOKEN
    block_end ends[2];
    for (int g = 0; g < n_groups; g++) find_end(t, blocks[g], words_offset(t), &ends[g]);
    end_tokens(t, ends, n_groups, x, n_tokens, sums[0], sums[1], y, group_stride);
}
