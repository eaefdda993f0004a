/* Products of a block by bytes, for instruction sets that multiply and add bytes (V_BYTES): all but
 * scalar and neon.
 *
 * Codes fit a byte in every format. Activations of 12 bits do not, but two halves do:
 *
 *     q = 64 high + low      -32 <= high <= 32, -32 <= low <= 31
 *
 * so that a sub-block is 64 (codes . high) + (codes . low), exactly. For one token this takes half the
 * instructions that int16 take, since codes need not be widened: a shift and a mask of a unit give 64
 * of them. Halves lie in the order that packed.h gives four bytes (vh_store_bytes).
 *
 * A vq holds sums of such products, one int32 a row or, with V_NARROW_SUMS, two int16. With V_UNSIGNED
 * the first factor is unsigned: codes stay as they are, and their offset is taken off the sums. With
 * V_SHORT_SUMS sub-blocks are scaled by multiply-adds of int16 (vq_scaled).
 */

V_INLINE vh byte_mask(int width, int to) { return vh_set((int16_t)(((1 << width) - 1) * 0x101 << to)); }

/* Weights 4i to 4i + 3 of 16 rows, as bytes. */
V_INLINE vh plane_quad(const uint8_t *plane, int width, int i, int to, vh *unit)
{
    return moved_unit(plane, width, i, 4, width * (i % (8 / width)), to, unit);
}

/* The low bits of the codes of weights 4i to 4i + 3 of a span of 16 rows; i = 0, 1, 2, ... */
V_INLINE vh low_quad(code_traits t, packed_block span, int i, plane_units *units)
{
    const int low = low_plane_width(t);
    vh code = plane_quad(span.low, low, i, 0, &units->low);
    return t.bits < 8 ? vh_and(code, byte_mask(low, 0)) : code;
}

/* Those codes, whose high bits are, among others, in `high`. */
V_INLINE vb whole_quad(code_traits t, vh code, vh high)
{
    if (high_plane_width(t))
        code = vh_or_masked(code, high, byte_mask(high_plane_width(t), low_plane_width(t)));
    if (t.lookup) code = vh_lookup(iq4_from_zero, code);
#ifdef V_UNSIGNED
    return vb_of(t.bits == 8 ? vh_xor(code, byte_mask(1, 7)) : code);
#else
    return t.offset ? vb_sub(vb_of(code), vb_set((int8_t)t.offset)) : vb_of(code);
#endif
}

/* The codes of weights 4i to 4i + 3 of a span of 16 rows; i = 0, 1, 2, ... */
V_INLINE vb code_quad(code_traits t, packed_block span, int i, plane_units *units)
{
    const int high = high_plane_width(t);
    const vh code = low_quad(t, span, i, units);
    return whole_quad(t, code, high ? plane_quad(span.high, high, i, low_plane_width(t), &units->high)
                                    : code);
}

/* How much code_quad's bytes are above code - t.offset. */
V_INLINE int byte_offset(code_traits t)
{
#ifdef V_UNSIGNED
    return t.bits == 8 ? 128 : t.offset;
#else
    (void)t;
    return 0;
#endif
}

V_INLINE vi byte_offset_dot(code_traits t, block_activations x, int k, int sub_block)
{
    return byte_offset(t) ? vi_set(-byte_offset(t) * sub_block_sum(t, x, k, sub_block)) : vi_zero();
}

/* Whether vq_scaled takes a sub-block's sums as they are: where that is a multiply-add of int16, they
 * have to fit one, |high| and |low| being 32 at most. */
V_INLINE int sums_fit(code_traits t)
{
    if (!V_SHORT_SUMS || t.block < 256) return t.block == 256;
    return !t.lookup && ((1 << t.bits) - 1) * t.sub_block * 32 <= INT16_MAX;
}

/* How many products of a row a vq can add: where it has int16 lanes, two to a row, the largest product
 * is 255 * 32. */
V_INLINE int most_quads(code_traits t)
{
    return V_NARROW_SUMS && (t.bits == 8 || t.lookup) ? 2 : t.sub_block / 4;
}

/* Sums over a block: of products with `high`, with `low`, and of the offset's. */
typedef struct {
    vi high, low, offset;
} block_sums;

/* The sums of 64 weights' sub-blocks, or of the 32 weights of a small block. */
typedef struct {
    vq high[4], low[4];
    vi wide_high[4], wide_low[4]; /* unless sums_fit */
} turn_sums;

V_INLINE void add_sub_blocks(code_traits t, packed_block block, block_activations x, int k, int turn,
                             const turn_sums *sums, block_sums *total)
{
    const int pairs = t.block == 256 ? 32 / t.sub_block : 0;
    for (int j = 0; j < pairs; j++) {
        vh scales = scale_pair(t, block, turn * pairs + j);
        if (!sums_fit(t)) {
            for (int half = 0; half < 2; half++) {
                const int sub = j + half * pairs;
                vi dot = vi_add(vi_sll(sums->wide_high[sub], HALF_BITS), sums->wide_low[sub]);
                total->low = vi_add(total->low, vi_mul(dot, vi_half(scales, half)));
            }
            continue;
        }
        total->high = vq_scaled(total->high, sums->high[j], sums->high[j + pairs], scales);
        total->low = vq_scaled(total->low, sums->low[j], sums->low[j + pairs], scales);
        if (byte_offset(t)) {
            const int16_t *q = x.sums + 16 * k + 2 * (turn * pairs + j);
            total->offset = vi_dot(total->offset, scales, vh_broadcast2(q));
        }
    }
    if (pairs == 0)
        total->low = vi_add(vi_sll(sums->wide_high[0], HALF_BITS), sums->wide_low[0]);
}

/* One block of a group and one token, or two, added to y [n_tokens, 16], with the codes straight from
 * the planes. */
V_INLINE void dot_block(code_traits t, packed_block block, int into_l2, block_activations x,
                        int n_tokens, float *y)
{
    enum { MOST_TOKENS = 2 };
    const int weights = t.block == 256 ? 64 : 32, sub_quads = t.sub_block / 4, most = most_quads(t);
    block_sums total[MOST_TOKENS];
    for (int k = 0; k < n_tokens; k++)
        total[k].high = total[k].low = total[k].offset = vi_zero();
    for (int turn = 0; turn < t.block / weights; turn++) {
        turn_sums sums[MOST_TOKENS];
        plane_units units;
        V_UNROLL
        for (int i = 0; i < weights / 4; i++) {
            const int s = turn * (weights / SPAN) + i / (SPAN / 4), sub = i / sub_quads;
            prefetch_ahead(t, block, into_l2, turn, t.block / weights, i, weights / 4);
            vb w = code_quad(t, span_at(t, block, s), i % (SPAN / 4), &units);
            for (int k = 0; k < n_tokens; k++) {
                const int8_t *q = x.halves + 2 * k * t.block + turn * weights + 4 * i;
                turn_sums *sum = &sums[k];
                const int begins = i % most == 0, ends = i % most == most - 1;
                sum->high[sub] = vq_dot4(begins ? vq_zero() : sum->high[sub], w, q);
                sum->low[sub] = vq_dot4(begins ? vq_zero() : sum->low[sub], w, q + t.block);
                if (sums_fit(t)) continue;
                if (i % sub_quads == 0) {
                    sum->wide_high[sub] = vi_zero();
                    sum->wide_low[sub]
                        = byte_offset_dot(t, x, k, turn * (weights / t.sub_block) + sub);
                }
                if (!ends) continue;
                sum->wide_high[sub] = vi_add(sum->wide_high[sub], vi_from_vq(sum->high[sub]));
                sum->wide_low[sub] = vi_add(sum->wide_low[sub], vi_from_vq(sum->low[sub]));
            }
        }
        for (int k = 0; k < n_tokens; k++) add_sub_blocks(t, block, x, k, turn, &sums[k], &total[k]);
    }
    block_end end;
    find_end(t, block, 0, &end);
    for (int k = 0; k < n_tokens; k++) {
        vi dot = total[k].low;
        if (sums_fit(t)) dot = vi_add(dot, vi_sll(total[k].high, HALF_BITS));
        if (sums_fit(t) && byte_offset(t))
            dot = vi_add(dot, vi_mul(total[k].offset, vi_set(-byte_offset(t))));
        end_block(t, &end, x, k, dot, y + k * GROUP_ROWS);
    }
}

#ifdef V_BYTE_TILES
/* A block as int8 codes without scales: [block / 4][16 rows][4], in L1. */
typedef struct {
    _Alignas(64) int8_t codes[64][64];
} block_tile;

V_INLINE void unpack_block(code_traits t, packed_block block, block_tile *tile)
{
    for (int s = 0; s < t.block / SPAN; s++) {
        packed_block span = span_at(t, block, s);
        plane_units units;
        V_UNROLL
        for (int i = 0; i < SPAN / 4; i++) {
            prefetch_ahead(t, block, 1, s, t.block / SPAN, i, SPAN / 4);
            vb_store(tile->codes[s * (SPAN / 4) + i], code_quad(t, span, i, &units));
        }
    }
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
            const int8_t *q = x.halves + half * t.block + b * t.sub_block;
            for (int k = 0; half && k < n_tokens; k++) dot[k] = vi_sll(dot[k], HALF_BITS);
            V_KEEP_LOOP /* unrolled, gcc loads so far ahead that nothing stays in registers */
            for (int i = 0; i < quads; i++) {
                vb w = vb_load(codes[i]);
                for (int k = 0; k < n_tokens; k++)
                    dot[k] = vq_dot4(dot[k], w, q + 2 * k * t.block + 4 * i);
            }
        }
        const int first = b * t.sub_block; /* weight */
        for (int k = 0; k < n_tokens; k++) {
            if (has_scales(t))
                dot[k] = vi_mul(dot[k], sub_block_scale(t, *blocks, first / SPAN, first % SPAN));
            total[k] = vi_add(total[k], dot[k]);
        }
    }
    block_end end;
    find_end(t, blocks[0], 0, &end);
    for (int k = 0; k < n_tokens; k++) end_block(t, &end, x, k, total[k], y + k * GROUP_ROWS);
}
#endif
