/* matmul and what is fused with it: norm_matmul, norm_gate_up, matmul_add.
 *
 * A thread takes a unit of 16 output rows at a time, of whichever of the op's weights has rows left;
 * with more tokens V_TILE_GROUPS times as many, so that activations are loaded less often. Where tokens
 * are many, the units are those of one slice after the other.
 */

/* y [groups, n_tokens, GROUP_ROWS] of n_rows rows of a weight, one function a format. */
typedef void unit_function(const weight_record *weight, const activations *a, int first_row,
                           int n_rows, float *y);

V_INLINE int row_groups(int n_rows) { return (n_rows + GROUP_ROWS - 1) / GROUP_ROWS; }

#define UNIT_SIGNATURE(name)                                                                       \
    static void unit_##name(const weight_record *weight, const activations *a, int first_row,      \
                            int n_rows, float *y)
#define UNIT_1(name, bytes)                                                                        \
    UNIT_SIGNATURE(name)                                                                           \
    {                                                                                              \
        float_unit(load_##name, element_##name, bytes, weight, a, first_row, n_rows, y);           \
    }
#define UNIT_QUANTISED(name, size)                                                                 \
    UNIT_SIGNATURE(name)                                                                           \
    {                                                                                              \
        quantised_unit(TRAITS_##size(name), weight, a, first_row, row_groups(n_rows), y);          \
    }
#define UNIT_32(name, bytes) UNIT_QUANTISED(name, 32)
#define UNIT_256(name, bytes) UNIT_QUANTISED(name, 256)
#define FORMAT(name, NAME, gguf_type, block_weights, bytes) UNIT_##block_weights(name, bytes)
#include "formats.def"

static unit_function *const unit_functions[FORMAT_COUNT] = {
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes) [FORMAT_##NAME] = unit_##name,
#include "formats.def"
};

/* Few sums wait for each other: from four tokens on two groups side by side give enough of them. */
V_INLINE int unit_rows(const activations *a)
{
    return a->n_tokens < FEW_TOKENS ? GROUP_ROWS : V_TILE_GROUPS * GROUP_ROWS;
}

V_INLINE int units(const work *w, int weight, const activations *a)
{
    return (w->program->tables.weights[weight].n_out + unit_rows(a) - 1) / unit_rows(a);
}

V_INLINE float *unit_scratch(work *w, const activations *a)
{
    float *y = (float *)w->scratch;
    w->scratch += (size_t)a->n_tokens * (size_t)unit_rows(a) * sizeof *y;
    return y;
}

/* Where row r of a unit's token t lies in y [groups, n_tokens, GROUP_ROWS]. */
V_INLINE size_t unit_place(const activations *a, int t, int r)
{
    return ((size_t)(r / GROUP_ROWS) * (size_t)a->n_tokens + (size_t)t) * GROUP_ROWS
           + (size_t)(r % GROUP_ROWS);
}

/* One unit of a weight, with the bias if there is one. Returns the number of rows that are there. */
V_INLINE int matmul_unit(const work *w, int weight, int bias, const activations *a, int unit,
                         float *y)
{
    const weight_record *m = &w->program->tables.weights[weight];
    int most = unit_rows(a), first = unit * most;
    int n_rows = m->n_out - first < most ? m->n_out - first : most;
    unit_functions[m->format](m, a, first, n_rows, y);
    if (bias >= 0) {
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
    const size_t place = (size_t)a->first * width + (size_t)unit * (size_t)unit_rows(a);
    float *out = value_data(w, output) + place;
    for (int t = 0; t < a->n_tokens; t++)
        for (int r = 0; r < n_rows; r++) {
            size_t at = (size_t)t * width + (size_t)r;
            out[at] = y[unit_place(a, t, r)] + (residual ? residual[place + at] : 0.0f);
        }
}

/* y_i = x W_i^T [+ b_i] [+ residual] for n weights at op->weights[first], [first + 2], ... */
V_INLINE void matmul_all(work *w, const op_record *op, const float *gain, int first, int n,
                         const float *residual)
{
    const int32_t *weights = op->weights + first;
    left_side left = prepare_activations(w, op, gain, weights, n);
    activations slice = slice_of(&left, 0), *a = &slice;
    float *y = unit_scratch(w, a);
    int each = 0, at, end; /* units of a slice */
    for (int i = 0; i < n; i++) each += units(w, weights[2 * i], a);
    while (next_units(w, each * count_slices(&left), &at, &end)) {
        prepare_single(&left, a);
        for (; at < end; at++) {
            if (a->first != at / each * left.slice_tokens) slice = slice_of(&left, at / each);
            int i = 0, unit = at % each;
            for (; unit >= units(w, weights[2 * i], a); i++) unit -= units(w, weights[2 * i], a);
            int n_rows = matmul_unit(w, weights[2 * i], weights[2 * i + 1], a, unit, y);
            store_unit(w, op->outputs[i], unit, n_rows, y, a, residual);
        }
    }
}

static void op_matmul(work *w, const op_record *op) { matmul_all(w, op, NULL, 0, 1, NULL); }

static void op_matmul_add(work *w, const op_record *op)
{
    matmul_all(w, op, NULL, 0, 1, value_data(w, op->inputs[1]));
}

static void op_norm_matmul(work *w, const op_record *op)
{
    int n = 1;
    while (n < RECORD_OUTPUTS && op->outputs[n] >= 0) n++;
    matmul_all(w, op, weight_floats(w, op->weights[0]), 1, n, NULL);
}

static void op_norm_gate_up(work *w, const op_record *op)
{
    const int32_t *weights = op->weights + 1;
    left_side left = prepare_activations(w, op, weight_floats(w, op->weights[0]), weights, 2);
    activations slice = slice_of(&left, 0), *a = &slice;
    float *gate = unit_scratch(w, a), *up = unit_scratch(w, a);
    int each = units(w, weights[0], a), at, end;
    while (next_units(w, each * count_slices(&left), &at, &end)) {
        prepare_single(&left, a);
        for (; at < end; at++) {
            if (a->first != at / each * left.slice_tokens) slice = slice_of(&left, at / each);
            const int unit = at % each;
            int n_rows = matmul_unit(w, weights[0], weights[1], a, unit, gate);
            matmul_unit(w, weights[2], weights[3], a, unit, up);
            for (int i = 0; i < a->n_tokens * row_groups(n_rows) * GROUP_ROWS; i += GROUP_ROWS) {
                vf x = vf_load(gate + i), active = op->gelu ? vf_gelu(x) : vf_silu(x);
                vf_store(gate + i, vf_mul(active, vf_load(up + i)));
            }
            store_unit(w, op->outputs[0], unit, n_rows, gate, a, NULL);
        }
    }
}
