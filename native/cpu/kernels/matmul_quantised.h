/* Quantised weights times quantised activations: all arithmetic inside a block is exact.
 *
 * A format's codes_<name> turns a block into int16 codes with the sub-block scales multiplied in
 * (Q4_K: 4-bit code times 6-bit scale) and one or two floats for the whole block:
 *     weight = scale * code - min_scale * min
 * The block's dot product with int16 activations is an exact int32, so it does not matter in which
 * order or on which instruction set it was summed. Floats meet once a block, in the order of the
 * blocks: the result is the same, bit for bit, for one token or many, on every machine.
 */

typedef block_scales codes_function(const void *block, vh *w, vh *mins);

typedef struct {
    const uint8_t *weights; /* of the first row */
    int64_t row_bytes;
    int block_bytes, n_blocks, n_tokens;
    const int16_t *q, *sums;
    const float *d;
} quantised_operands;

enum { MOST_VECTORS = 8, DOT_TOKENS = 6 };

/* One row of weights times n_tokens <= DOT_TOKENS tokens: the block stays in registers. */
V_INLINE void dot_row(codes_function codes, int n_vectors, int has_mins,
                      const quantised_operands *o, const uint8_t *row, int n_tokens, float *y)
{
    float sum[DOT_TOKENS] = {0};
    for (int b = 0; b < o->n_blocks; b++) {
        vh w[MOST_VECTORS], mins;
        block_scales s = codes(row + (size_t)b * (size_t)o->block_bytes, w, &mins);
        for (int t = 0; t < n_tokens; t++) {
            size_t at = (size_t)b * (size_t)n_tokens + (size_t)t;
            const int16_t *q = o->q + at * (size_t)(32 * n_vectors);
            vi dot = vi_zero();
            for (int v = 0; v < n_vectors; v++) dot = vi_dot(dot, w[v], vh_load(q + 32 * v));
            float d = o->d[at];
            sum[t] = fmaf((float)vi_sum(dot), s.scale * d, sum[t]);
            if (has_mins) {
                vi m = vi_dot(vi_zero(), mins, vh_load(o->sums + at * (size_t)(2 * n_vectors)));
                sum[t] = fmaf((float)vi_sum(m), -(s.min_scale * d), sum[t]);
            }
        }
    }
    for (int t = 0; t < n_tokens; t++) y[t * UNIT_ROWS] = sum[t];
}

/* The codes of one block of 16 rows, turned so that a vector holds two neighbouring weights of
 * every row; then a token's pair of activations is broadcast, and lane r sums row r. */
typedef struct {
    _Alignas(64) int16_t codes[MOST_VECTORS * 16][32];
    _Alignas(64) int16_t mins[8][32];
    _Alignas(64) float scale[UNIT_ROWS];
    _Alignas(64) float min_scale[UNIT_ROWS];
} block_tile;

V_INLINE void turn_block(codes_function codes, int n_vectors, int has_mins,
                         const uint8_t *const rows[UNIT_ROWS], size_t offset, block_tile *tile)
{
    int16_t linear[UNIT_ROWS][MOST_VECTORS * 32];
    vi turned_mins[UNIT_ROWS];
    for (int r = 0; r < UNIT_ROWS; r++) {
        vh w[MOST_VECTORS], mins;
        block_scales s = codes(rows[r] + offset, w, &mins);
        for (int v = 0; v < n_vectors; v++) vh_store(linear[r] + 32 * v, w[v]);
        tile->scale[r] = s.scale;
        tile->min_scale[r] = s.min_scale;
        if (has_mins) turned_mins[r] = vi_cast(mins);
    }
    for (int v = 0; v < n_vectors; v++) {
        vi m[UNIT_ROWS];
        for (int r = 0; r < UNIT_ROWS; r++) m[r] = vi_cast(vh_load(linear[r] + 32 * v));
        vi_transpose16(m);
        for (int i = 0; i < 16; i++) vh_store(tile->codes[16 * v + i], vh_cast(m[i]));
    }
    if (!has_mins) return;
    vi_transpose16(turned_mins);
    for (int i = 0; i < n_vectors; i++) vh_store(tile->mins[i], vh_cast(turned_mins[i]));
}

/* y[t][row] += tile times the block's activations of n_tokens <= V_TILE_TOKENS tokens. */
V_INLINE void tile_tokens(const block_tile *tile, int n_vectors, int has_mins, int n_tokens,
                          const int16_t *q, const float *d, const int16_t *sums, float *y)
{
    vi dot[V_TILE_TOKENS];
    for (int t = 0; t < n_tokens; t++) dot[t] = vi_zero();
    for (int i = 0; i < 16 * n_vectors; i++) {
        vh w = vh_load(tile->codes[i]);
        for (int t = 0; t < n_tokens; t++)
            dot[t] = vi_dot(dot[t], w, vh_broadcast2(q + 32 * n_vectors * t + 2 * i));
    }
    vf scale = vf_load(tile->scale), min_scale = vf_load(tile->min_scale);
    for (int t = 0; t < n_tokens; t++) {
        float *out = y + t * UNIT_ROWS;
        vf sum = vf_fma(vf_from_vi(dot[t]), vf_mul(scale, vf_set(d[t])), vf_load(out));
        if (has_mins) {
            vi m = vi_zero();
            for (int i = 0; i < n_vectors; i++)
                m = vi_dot(m, vh_load(tile->mins[i]),
                           vh_broadcast2(sums + 2 * n_vectors * t + 2 * i));
            vf negative = vf_sub(vf_zero(), vf_mul(min_scale, vf_set(d[t])));
            sum = vf_fma(vf_from_vi(m), negative, sum);
        }
        vf_store(out, sum);
    }
}

V_INLINE void tile_rows(codes_function codes, int n_vectors, int has_mins,
                        const quantised_operands *o, const uint8_t *const rows[UNIT_ROWS], float *y)
{
    block_tile tile;
    int n = o->n_tokens;
    for (int t = 0; t < n; t++) vf_store(y + t * UNIT_ROWS, vf_zero());
    for (int b = 0; b < o->n_blocks; b++) {
        turn_block(codes, n_vectors, has_mins, rows, (size_t)b * (size_t)o->block_bytes, &tile);
        size_t at = (size_t)b * (size_t)n;
        const int16_t *q = o->q + at * (size_t)(32 * n_vectors);
        const int16_t *sums = o->sums + at * (size_t)(2 * n_vectors);
        const float *d = o->d + at;
        int t = 0;
        for (; t + V_TILE_TOKENS <= n; t += V_TILE_TOKENS)
            tile_tokens(&tile, n_vectors, has_mins, V_TILE_TOKENS, q + 32 * n_vectors * t, d + t,
                        sums + 2 * n_vectors * t, y + t * UNIT_ROWS);
        for (; t < n; t++)
            tile_tokens(&tile, n_vectors, has_mins, 1, q + 32 * n_vectors * t, d + t,
                        sums + 2 * n_vectors * t, y + t * UNIT_ROWS);
    }
}

/* y [n_tokens, UNIT_ROWS] of up to UNIT_ROWS rows from first_row on. */
V_INLINE void quantised_unit(codes_function codes, int n_vectors, int has_mins,
                             const weight_record *weight, const activations *a, int first_row,
                             int n_rows, int block_bytes, float *y)
{
    enum activation kind = n_vectors == MOST_VECTORS ? ACTIVATION_Q256 : ACTIVATION_Q32;
    quantised_operands o = {
        .weights = (const uint8_t *)weight->data + first_row * weight->row_bytes,
        .row_bytes = weight->row_bytes,
        .block_bytes = block_bytes,
        .n_blocks = weight->n_in / (32 * n_vectors),
        .n_tokens = a->n_tokens,
        .q = a->quantised[kind].q,
        .sums = a->quantised[kind].sums,
        .d = a->quantised[kind].d,
    };
    if (a->n_tokens == 1) {
        for (int r = 0; r < n_rows; r++)
            dot_row(codes, n_vectors, has_mins, &o, o.weights + r * o.row_bytes, 1, y + r);
    } else if (a->n_tokens <= DOT_TOKENS) {
        for (int r = 0; r < n_rows; r++)
            dot_row(codes, n_vectors, has_mins, &o, o.weights + r * o.row_bytes, o.n_tokens, y + r);
    } else {
        const uint8_t *rows[UNIT_ROWS]; /* past the last row: that row again, not stored by anyone */
        for (int r = 0; r < UNIT_ROWS; r++)
            rows[r] = o.weights + (r < n_rows ? r : n_rows - 1) * o.row_bytes;
        tile_rows(codes, n_vectors, has_mins, &o, rows, y);
    }
}
