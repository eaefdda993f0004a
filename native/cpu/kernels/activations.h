/* The left side of a matmul: rows normalised where the op asks for it, and quantised where the
 * weights' formats ask for it. */

V_INLINE float sum_of_squares(const float *x, int n)
{
    vf squares = vf_zero();
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        vf v = vf_load(x + i);
        squares = vf_fma(v, v, squares);
    }
    vf tail = vf_load_part(x + i, n - i);
    return vf_sum(vf_fma(tail, tail, squares));
}

V_INLINE void rms_norm_row(const float *x, const float *gain, int n, float eps, float *y)
{
    float scale = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps);
    vf s = vf_set(scale);
    int i = 0;
    for (; i + 16 <= n; i += 16)
        vf_store(y + i, vf_mul(vf_mul(vf_load(x + i), s), vf_load(gain + i)));
    for (; i < n; i++) y[i] = x[i] * scale * gain[i];
}

enum { FEW_TOKENS = 4 }; /* below which no kernel multiplies int16, where there is one for bytes */

/* In which forms kernels take integers: int16, and halves of them (matmul_bytes.h). */
V_INLINE int takes_words(int n_tokens)
{
    (void)n_tokens;
#if defined(V_BYTE_TILES)
    return 0;
#elif defined(V_AMX)
    return n_tokens >= FEW_TOKENS && n_tokens < V_TILE_TOKENS;
#elif defined(V_BYTES)
    return n_tokens >= FEW_TOKENS;
#else
    return 1;
#endif
}

V_INLINE int takes_halves(int n_tokens)
{
    (void)n_tokens;
#if defined(V_BYTE_TILES) || defined(V_AMX)
    return 1;
#elif defined(V_BYTES)
    return n_tokens < V_TILE_TOKENS;
#else
    return 0;
#endif
}

/* How many tokens a kernel of int16 takes next of those that are left; 0 of none. */
V_INLINE int tile_width(int left)
{
    if (left >= V_TILE_TOKENS) return V_TILE_TOKENS;
    if (V_TILE_TOKENS > 8 && left >= 8) return 8;
    if (V_TILE_TOKENS > 4 && left >= 4) return 4;
    return left > 0;
}

/* The tile of a token, of n_tokens: its first token and how many it has. One token where kernels multiply
 * halves. */
typedef struct {
    int first, n;
} token_tile;

V_INLINE token_tile tile_of(int n_tokens, int token)
{
    if (!takes_words(n_tokens)) return (token_tile){token, 1};
    token_tile tile = {0, tile_width(n_tokens)};
    while (tile.first + tile.n <= token) {
        tile.first += tile.n;
        tile.n = tile_width(n_tokens - tile.first);
    }
    return tile;
}

/* Whether kernels multiply sums over 32 with minima of as many weights. */
V_INLINE int takes_sums32(int n_tokens, int block)
{
    (void)n_tokens, (void)block;
#ifdef V_BYTE_TILES
    return 0;
#else
    return block == 256 && (takes_words(n_tokens) || n_tokens >= FEW_TOKENS);
#endif
}

/* Where the integers of a block go, int16 pair by pair, `stride` from one to the next; NULL where no
 * kernel takes them. */
typedef struct {
    int16_t *q, *sums, *sums32;
    uint8_t *overflows;
    int8_t *halves;
    int stride;
} integer_places;

V_INLINE void store_pairs(int16_t *to, int stride, vh x)
{
    if (stride == 2) {
        vh_store(to, x);
        return;
    }
    int16_t pairs[32];
    vh_store(pairs, x);
    for (int i = 0; i < 16; i++) memcpy(to + i * stride, pairs + 2 * i, 2 * sizeof *pairs);
}

V_INLINE void store_activations(integer_places to, int block, int i, vh x)
{
    if (to.q) store_pairs(to.q + i / 2 * to.stride, to.stride, x);
#ifdef V_BYTES
    if (!to.halves) return;
    vh high = vh_sra(vh_sub(x, vh_set(-(1 << HALF_BITS) / 2)), HALF_BITS);
    vh_store_bytes(to.halves + i, high);
    vh low = vh_sub(x, vh_sll(high, HALF_BITS));
    vh_store_bytes(to.halves + block + i, low);
#else
    (void)block;
#endif
}

/* One block of a row: q = round(x / d), d so that the largest |q| is 2047; and the sums of q over
 * each 16, which minima and offsets are multiplied with. A NaN or an infinity makes d NaN, so that
 * it reaches the logits instead of vanishing in an integer. */
V_INLINE void quantise_block(const float *x, int block, integer_places to, float *d)
{
    vf largest = vf_zero(), invalid = vf_zero();
    for (int i = 0; i < block; i += 16) {
        vf v = vf_load(x + i);
        largest = vf_max(vf_abs(v), largest);
        invalid = vf_fma(v, vf_zero(), invalid);
    }
    float most = vf_maximum(largest), nan = vf_sum(invalid);
    /* below 2047 / FLT_MAX the inverse would be infinite: such a block counts as zero; and no integer
     * stands for a NaN, which would overflow a sum */
    float inverse_d = ACTIVATION_MAX / most;
    *d = most / ACTIVATION_MAX + nan;
    vf inverse = vf_set(inverse_d < INFINITY ? inverse_d : 0.0f);
    int overflows = 0;
    for (int i = 0; i < block; i += 32) {
        vi a = vi_zero(), b = vi_zero();
        if (*d == *d) {
            a = vi_round(vf_mul(vf_load(x + i), inverse));
            b = vi_round(vf_mul(vf_load(x + i + 16), inverse));
        }
        store_activations(to, block, i, vh_from_vi(a, b));
        /* in blocks of 256 the first 16 of two neighbours of 32 are a pair, and so are the second */
        int16_t *pair = to.sums + i / 64 * 2 * to.stride + i / 32 % 2;
        const int first = vi_sum(a), second = vi_sum(b), sum = first + second;
        pair[0] = (int16_t)first;
        pair[block == 256 ? to.stride : 1] = (int16_t)second;
        if (!to.sums32) continue;
        to.sums32[i / 64 * to.stride + i / 32 % 2] = (int16_t)sum;
        overflows |= sum != (int16_t)sum;
    }
    if (to.sums32) *to.overflows = (uint8_t)overflows;
}

V_INLINE void quantise_row(const float *x, int token, const activations *a, enum activation kind)
{
    int block = activation_block(kind), n_blocks = a->n_in / block;
    const token_tile tile = tile_of(a->n_tokens, token);
    for (int b = 0; b < n_blocks; b++) {
        size_t at = (size_t)b * (size_t)a->n_tokens + (size_t)token;
        size_t tile_at = (size_t)b * (size_t)a->n_tokens + (size_t)tile.first;
        const int within = 2 * (token - tile.first);
        integer_places to = {.stride = 2 * tile.n};
        to.sums = a->quantised[kind].sums + tile_at * (size_t)(block / 16) + within;
        if (takes_sums32(a->n_tokens, block)) {
            to.sums32 = a->quantised[kind].sums32 + tile_at * (size_t)(block / 32) + within;
            to.overflows = a->quantised[kind].overflows + at;
        }
        if (takes_words(a->n_tokens))
            to.q = a->quantised[kind].q + tile_at * (size_t)block + within;
        if (takes_halves(a->n_tokens))
            to.halves = a->quantised[kind].halves + 2 * at * (size_t)block;
        quantise_block(x + b * block, block, to, a->quantised[kind].d + at);
    }
}

/* What an op's matrices take as their left side, in slices of tokens. */
typedef struct {
    const float *x, *gain; /* the rows, and what they are normalised by unless it is NULL */
    const int32_t *selected;
    float *normalised;
    const float *f32; /* what matrices of floats take */
    char *integers;   /* of the slices */
    float *sums;      /* of all units, where rows are multiplied a part at a time */
    float eps;
    int n_in, n_tokens, slice_tokens;
    int depth, n_depths; /* how long a part is, and how many there are */
    int wanted;   /* forms: 1 << enum activation */
    int is_ready;
} left_side;

/* How many int16 of activations stay in the second-level cache while all rows of a matrix are multiplied
 * with them. */
V_INLINE int64_t l2_activations(void) { return l2_bytes * 3 / 4 / (int64_t)sizeof(int16_t); }

/* How much of a row is multiplied at a time, so that enough tokens are in the cache for one unpacking. */
V_INLINE int depth_of(int n_tokens, int n_in)
{
    enum { ENOUGH = 192, BLOCK = 256 };
    const int64_t wanted = (int64_t)(n_tokens < ENOUGH ? n_tokens : ENOUGH) * n_in;
    int n = 1;
    while (n < MOST_DEPTHS && n * l2_activations() < wanted) n++;
    const int blocks = (n_in + BLOCK - 1) / BLOCK, depth = (blocks + n - 1) / n * BLOCK;
    return depth < n_in ? depth : n_in;
}

/* How many tokens a slice has, so that it stays in the second-level cache while all rows of a matrix
 * are multiplied with `depth` weights each; not so few that unpacking the matrix for each slice counts. */
V_INLINE int slice_tokens(int n_tokens, int depth)
{
    enum { LEAST = 48 };
    const int64_t most = l2_activations() / depth;
    if (n_tokens <= LEAST || n_tokens <= most) return n_tokens > 0 ? n_tokens : 1;
    const int n_slices = (int)(most < LEAST ? (n_tokens + LEAST - 1) / LEAST
                                            : (n_tokens + most - 1) / most);
    const int even = (n_tokens + n_slices - 1) / n_slices;
    return (even + V_TILE_TOKENS - 1) / V_TILE_TOKENS * V_TILE_TOKENS;
}

/* Few sums wait for each other: from four tokens on two groups side by side give enough of them. */
V_INLINE int unit_rows(int n_tokens)
{
    return n_tokens < FEW_TOKENS ? GROUP_ROWS : V_TILE_GROUPS * GROUP_ROWS;
}

V_INLINE int count_slices(const left_side *l)
{
    return (l->n_tokens + l->slice_tokens - 1) / l->slice_tokens;
}

/* The last slice may be of a token or two; its units are those of the others. */
V_INLINE activations slice_of(const left_side *l, int slice)
{
    activations a = {.n_tokens = l->slice_tokens, .n_in = l->n_in, .unit_rows = unit_rows(l->n_tokens)};
    char *base = l->integers;
    for (int i = 0; i < slice; i++) base = activations_place(&a, base);
    a.first = slice * l->slice_tokens;
    a.k_end = l->n_in;
    if (a.n_tokens > l->n_tokens - a.first) a.n_tokens = l->n_tokens - a.first;
    a.f32 = l->f32 + (size_t)a.first * (size_t)l->n_in;
    activations_place(&a, base);
    return a;
}

/* What of its rows is multiplied next. */
V_INLINE void take_depth(const left_side *l, activations *a, int depth)
{
    a->k_begin = depth * l->depth;
    a->k_end = depth + 1 < l->n_depths ? a->k_begin + l->depth : l->n_in;
}

V_INLINE void prepare_row(left_side *l, const activations *a, int t)
{
    const size_t n_in = (size_t)l->n_in, at = (size_t)(a->first + t);
    const float *row = l->x + (l->selected ? (size_t)l->selected[at] : at) * n_in;
    if (l->gain) {
        float *to = l->normalised + at * n_in;
        rms_norm_row(row, l->gain, l->n_in, l->eps, to);
        row = to;
    }
    for (int kind = ACTIVATION_Q32; kind < ACTIVATION_KINDS; kind++)
        if (l->wanted >> kind & 1) quantise_row(row, t, a, kind);
}

/* What an op needs of its first input for the n_weights matrices at every second place of `weights`,
 * normalised by `gain` unless that is NULL; an op with a gain may take selected rows. Rows are
 * shared out, and no thread goes on before all are prepared, nor writes to the shared memory while
 * the op before, if this one did not wait for it, still reads it. But of a single row each thread
 * makes one for itself (prepare_single), which is cheaper than to wait for another's. */
V_INLINE left_side prepare_activations(work *w, const op_record *op, const float *gain,
                                       const int32_t *weights, int n_weights)
{
    const cpu_program *p = w->program;
    const int n = value_rows(w, op->outputs[0]), n_in = value_width(w, op->inputs[0]);
    left_side l = {.x = value_data(w, op->inputs[0]), .gain = gain, .eps = op->eps,
                   .selected = selected_rows(w, op), .n_in = n_in, .n_tokens = n, .depth = n_in};
    char *base = n == 1 ? w->scratch : p->shared_scratch;
    w->scratch += n == 1 ? activations_bytes(1, n_in) : 0;
    l.sums = (float *)(p->shared_scratch + activations_bytes(n, n_in));
    for (int i = 0; i < n_weights; i++)
        l.wanted |= 1 << activation_of(p->tables.weights[weights[2 * i]].format);
    if (n >= V_TILE_TOKENS && !(l.wanted >> ACTIVATION_F32 & 1) && sums_bytes(&p->tables, op, n))
        l.depth = depth_of(n, n_in);
    l.n_depths = (n_in + l.depth - 1) / l.depth;
    l.slice_tokens = slice_tokens(n, l.depth);
    l.normalised = (float *)base;
    l.integers = base + whole_lines((size_t)n * (size_t)n_in * sizeof(float));
    l.f32 = gain ? l.normalised : l.x;
    l.is_ready = !gain && l.wanted == 1 << ACTIVATION_F32;
    if (n == 1 || l.is_ready) return l;
    if (!op->barrier) wait_for_units(w);
    int first, end;
    while (next_units(w, n, &first, &end))
        while (first < end) {
            const activations a = slice_of(&l, first / l.slice_tokens);
            for (; first < end && first < a.first + a.n_tokens; first++)
                prepare_row(&l, &a, first - a.first);
        }
    wait_for_units(w);
    l.is_ready = 1;
    return l;
}

/* To be called when a thread has units to do: one that has none, since it is late, must not read
 * what may no longer be there. */
V_INLINE void prepare_single(left_side *l, const activations *a)
{
    if (!l->is_ready) prepare_row(l, a, 0);
    l->is_ready = 1;
}
