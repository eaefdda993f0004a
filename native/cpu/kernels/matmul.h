/* matmul and what is fused with it: norm_matmul, norm_gate_up, matmul_add.
 *
 * A thread takes a unit of 16 output rows at a time, of whichever of the op's weights has rows left;
 * with more tokens V_TILE_GROUPS times as many, so that activations are loaded less often. Where tokens
 * are many, the units are those of one slice after the other.
 */

/* y [groups, n_tokens, GROUP_ROWS] of n_rows rows of a weight, one function a format. The thread will
 * read what is at `next` afterwards. */
typedef void unit_function(const weight_record *weight, const activations *a, int first_row,
                           int n_rows, const uint8_t *next, float *y);

V_INLINE int row_groups(int n_rows) { return (n_rows + GROUP_ROWS - 1) / GROUP_ROWS; }

#define UNIT_SIGNATURE(name)                                                                       \
    static void unit_##name(const weight_record *weight, const activations *a, int first_row,      \
                            int n_rows, const uint8_t *next, float *y)
#define UNIT_1(name, bytes)                                                                        \
    UNIT_SIGNATURE(name)                                                                           \
    {                                                                                              \
        (void)next;                                                                                \
        float_unit(load_##name, element_##name, bytes, weight, a, first_row, n_rows, y);           \
    }
#define UNIT_QUANTISED(name, size)                                                                 \
    UNIT_SIGNATURE(name)                                                                           \
    {                                                                                              \
        quantised_unit(TRAITS_##size(name), weight, a, first_row, row_groups(n_rows), next, y);    \
    }
#define UNIT_32(name, bytes) UNIT_QUANTISED(name, 32)
#define UNIT_256(name, bytes) UNIT_QUANTISED(name, 256)
#define FORMAT(name, NAME, gguf_type, block_weights, bytes) UNIT_##block_weights(name, bytes)
#include "formats.def"

static unit_function *const unit_functions[FORMAT_COUNT] = {
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes) [FORMAT_##NAME] = unit_##name,
#include "formats.def"
};

V_INLINE int units(const work *w, int weight, const activations *a)
{
    return (w->program->tables.weights[weight].n_out + a->unit_rows - 1) / a->unit_rows;
}

V_INLINE float *unit_scratch(work *w, const activations *a)
{
    float *y = (float *)w->scratch;
    w->scratch += (size_t)a->n_tokens * (size_t)a->unit_rows * sizeof *y;
    return y;
}

/* Where row r of a unit's token t lies in y [groups, n_tokens, GROUP_ROWS]. */
V_INLINE size_t unit_place(const activations *a, int t, int r)
{
    return ((size_t)(r / GROUP_ROWS) * (size_t)a->n_tokens + (size_t)t) * GROUP_ROWS
           + (size_t)(r % GROUP_ROWS);
}

V_INLINE int all_units(const work *w, right_side r, const activations *a)
{
    int n = 0;
    for (int i = 0; i < r.n; i++) n += units(w, r.weights[2 * i], a);
    return n;
}

/* Which of the matrices unit number *unit of all is of; *unit becomes its number there. */
V_INLINE int matrix_of(const work *w, right_side r, const activations *a, int *unit)
{
    int i = 0;
    for (int n; *unit >= (n = units(w, r.weights[2 * i], a)); i++) *unit -= n;
    return i;
}

/* Where the weights of unit `unit` of a matrix begin. */
V_INLINE const uint8_t *unit_weights(const work *w, int weight, const activations *a, int unit)
{
    const weight_record *m = &w->program->tables.weights[weight];
    return (const uint8_t *)m->data + (int64_t)unit * a->unit_rows * m->row_bytes;
}

/* Where a thread reads on when it is through with unit `at` of an op's: at the next one, or if it has
 * no more, at its share of the next op that multiplies. */
V_INLINE const uint8_t *weights_after(const work *w, const op_record *op, right_side r,
                                      const activations *a, int at)
{
    int unit = (at + 1) % all_units(w, r, a);
    if (at == w->last) {
        const program_tables *t = &w->program->tables;
        do op = op + 1 < t->ops + t->n_ops ? op + 1 : t->ops;
        while (!is_matmul(op));
        r = right_side_of(op);
        unit = share_begin(w, all_units(w, r, a), w->thread);
    }
    const int i = matrix_of(w, r, a, &unit);
    return unit_weights(w, r.weights[2 * i], a, unit);
}

/* One unit of a weight, with the bias if there is one. Returns the number of rows that are there. */
V_INLINE int matmul_unit(const work *w, int weight, int bias, const activations *a, int unit,
                         const uint8_t *next, float *y)
{
    const weight_record *m = &w->program->tables.weights[weight];
    int most = a->unit_rows, first = unit * most;
    int n_rows = m->n_out - first < most ? m->n_out - first : most;
    unit_functions[m->format](m, a, first, n_rows, next, y);
    if (bias >= 0 && a->k_end == a->n_in) {
        const float *b = (const float *)w->program->tables.weights[bias].data + first;
        for (int t = 0; t < a->n_tokens; t++)
            for (int r = 0; r < n_rows; r++) y[unit_place(a, t, r)] += b[r];
    }
    return n_rows;
}

V_INLINE const float *weight_floats(const work *w, int weight)
{
    return w->program->tables.weights[weight].data;
}

/* Adds the residual, if there is one, and puts a unit's rows in their place of an output. */
V_INLINE void store_unit(const work *w, int output, int unit, int n_rows, const float *y,
                         const activations *a, const float *residual)
{
    const size_t width = (size_t)value_width(w, output);
    const size_t place = (size_t)a->first * width + (size_t)unit * (size_t)a->unit_rows;
    float *out = value_data(w, output) + place;
    for (int r = 0; r < n_rows; r += GROUP_ROWS) {
        const int n = n_rows - r;
        for (int t = 0; t < a->n_tokens; t++) {
            const size_t at = (size_t)t * width + (size_t)r;
            vf sums = vf_load(y + unit_place(a, t, r));
            if (n >= GROUP_ROWS) {
                if (residual) sums = vf_add(sums, vf_load(residual + place + at));
                vf_store(out + at, sums);
            } else {
                if (residual) sums = vf_add(sums, vf_load_part(residual + place + at, n));
                vf_store_part(out + at, sums, n);
            }
        }
    }
}

/* The sums of unit `unit` of all: where they stay if rows are multiplied a part at a time, else `y`. */
V_INLINE float *unit_sums(const left_side *l, const activations *a, int each, int unit, float *y)
{
    if (l->n_depths == 1) return y;
    return l->sums + (size_t)a->unit_rows * ((size_t)a->first * (size_t)each
                                             + (size_t)unit * (size_t)a->n_tokens);
}

/* y_i = x W_i^T [+ b_i] [+ residual] for the op's matrices */
V_INLINE void matmul_all(work *w, const op_record *op, const float *gain, const float *residual)
{
    const right_side right = right_side_of(op);
    left_side left = prepare_activations(w, op, gain, right.weights, right.n);
    activations slice = slice_of(&left, 0), *a = &slice;
    float *scratch = unit_scratch(w, a);
    int each = all_units(w, right, a), at, end; /* units of a slice */
    for (int depth = 0; depth < left.n_depths; depth++) {
        if (depth > 0) wait_for_units(w); /* for sums that are added to */
        while (next_units(w, each * count_slices(&left), &at, &end)) {
            prepare_single(&left, a);
            for (; at < end; at++) {
                if (a->first != at / each * left.slice_tokens) slice = slice_of(&left, at / each);
                take_depth(&left, a, depth);
                int unit = at % each;
                float *y = unit_sums(&left, a, each, unit, scratch);
                const int i = matrix_of(w, right, a, &unit);
                const int32_t *weight = right.weights + 2 * i;
                const uint8_t *next = weights_after(w, op, right, a, at);
                int n_rows = matmul_unit(w, weight[0], weight[1], a, unit, next, y);
                if (a->k_end == a->n_in) store_unit(w, op->outputs[i], unit, n_rows, y, a, residual);
            }
        }
    }
}

static void op_matmul(work *w, const op_record *op) { matmul_all(w, op, NULL, NULL); }

static void op_matmul_add(work *w, const op_record *op)
{
    matmul_all(w, op, NULL, value_data(w, op->inputs[1]));
}

static void op_norm_matmul(work *w, const op_record *op)
{
    matmul_all(w, op, weight_floats(w, op->weights[0]), NULL);
}

static void op_norm_gate_up(work *w, const op_record *op)
{
    const right_side right = right_side_of(op);
    const int32_t *weights = right.weights;
    left_side left = prepare_activations(w, op, weight_floats(w, op->weights[0]), weights, 2);
    activations slice = slice_of(&left, 0), *a = &slice;
    float *gate = unit_scratch(w, a), *up = unit_scratch(w, a);
    int each = units(w, weights[0], a), at, end;
    while (next_units(w, each * count_slices(&left), &at, &end)) {
        prepare_single(&left, a);
        for (; at < end; at++) {
            if (a->first != at / each * left.slice_tokens) slice = slice_of(&left, at / each);
            const int unit = at % each;
            const uint8_t *second = unit_weights(w, weights[2], a, unit);
            const uint8_t *next = weights_after(w, op, right, a, at);
            int n_rows = matmul_unit(w, weights[0], weights[1], a, unit, second, gate);
            matmul_unit(w, weights[2], weights[3], a, unit, next, up);
            for (int i = 0; i < a->n_tokens * row_groups(n_rows) * GROUP_ROWS; i += GROUP_ROWS) {
                vf x = vf_load(gate + i), active = op->gelu ? vf_gelu(x) : vf_silu(x);
                vf_store(gate + i, vf_mul(active, vf_load(up + i)));
            }
            store_unit(w, op->outputs[0], unit, n_rows, gate, a, NULL);
        }
    }
}
