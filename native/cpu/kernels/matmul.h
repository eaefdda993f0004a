/* matmul and what is fused with it: norm_matmul, norm_gate_up, matmul_add.
 *
 * A thread takes 16 output rows at a time, of whichever of the op's weights has rows left.
 */

/* y [n_tokens, UNIT_ROWS] of n_rows <= UNIT_ROWS rows of a weight, one function a format. */
typedef void unit_function(const weight_record *weight, const activations *a, int first_row,
                           int n_rows, float *y);

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
        (void)n_rows; /* a group always has 16 */                                                  \
        quantised_unit(TRAITS_##size(name), weight, a, first_row, y);                              \
    }
#define UNIT_32(name, bytes) UNIT_QUANTISED(name, 32)
#define UNIT_256(name, bytes) UNIT_QUANTISED(name, 256)
#define FORMAT(name, NAME, gguf_type, block_weights, bytes) UNIT_##block_weights(name, bytes)
#include "formats.def"

static unit_function *const unit_functions[FORMAT_COUNT] = {
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes) [FORMAT_##NAME] = unit_##name,
#include "formats.def"
};

V_INLINE int units(const work *w, int weight)
{
    return (w->program->weights[weight].n_out + UNIT_ROWS - 1) / UNIT_ROWS;
}

V_INLINE float *unit_scratch(work *w, int n_tokens)
{
    float *y = (float *)w->scratch;
    w->scratch += (size_t)n_tokens * UNIT_ROWS * sizeof *y;
    return y;
}

/* One unit of a weight into y [n_tokens, UNIT_ROWS], with the bias if there is one. Returns the
 * number of rows that are there. */
V_INLINE int matmul_unit(const work *w, int weight, int bias, const activations *a, int unit,
                         float *y)
{
    const weight_record *m = &w->program->weights[weight];
    int first = unit * UNIT_ROWS;
    int n_rows = m->n_out - first < UNIT_ROWS ? m->n_out - first : UNIT_ROWS;
    unit_functions[m->format](m, a, first, n_rows, y);
    if (bias >= 0) {
        const float *b = (const float *)w->program->weights[bias].data + first;
        for (int t = 0; t < a->n_tokens; t++)
            for (int r = 0; r < n_rows; r++) y[t * UNIT_ROWS + r] += b[r];
    }
    return n_rows;
}

V_INLINE const float *weight_floats(const work *w, int weight)
{
    return w->program->weights[weight].data;
}

/* y_i = x W_i^T [+ b_i] [+ residual] for n weights at op->weights[first], [first + 2], ... */
V_INLINE void matmul_all(work *w, const op_record *op, const float *gain, int first, int n,
                         const float *residual)
{
    activations a;
    const int32_t *weights = op->weights + first;
    prepare_activations(w, op, gain, weights, n, &a);
    float *y = unit_scratch(w, a.n_tokens);
    int total = 0;
    for (int i = 0; i < n; i++) total += units(w, weights[2 * i]);
    for (int unit; (unit = next_unit(w)) < total;) {
        int i = 0;
        for (; unit >= units(w, weights[2 * i]); i++) unit -= units(w, weights[2 * i]);
        int n_rows = matmul_unit(w, weights[2 * i], weights[2 * i + 1], &a, unit, y);
        int width = value_width(w, op->outputs[i]);
        size_t place = (size_t)unit * UNIT_ROWS;
        float *out = value_data(w, op->outputs[i]) + place;
        for (int t = 0; t < a.n_tokens; t++)
            for (int r = 0; r < n_rows; r++) {
                size_t at = (size_t)t * (size_t)width + (size_t)r;
                out[at] = y[t * UNIT_ROWS + r] + (residual ? residual[place + at] : 0.0f);
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
    activations a;
    const int32_t *weights = op->weights + 1;
    prepare_activations(w, op, weight_floats(w, op->weights[0]), weights, 2, &a);
    float *gate = unit_scratch(w, a.n_tokens), *up = unit_scratch(w, a.n_tokens);
    int width = value_width(w, op->outputs[0]), total = units(w, weights[0]);
    for (int unit; (unit = next_unit(w)) < total;) {
        int n_rows = matmul_unit(w, weights[0], weights[1], &a, unit, gate);
        matmul_unit(w, weights[2], weights[3], &a, unit, up);
        for (int t = 0; t < a.n_tokens; t++) {
            float *g = gate + t * UNIT_ROWS;
            vf_store(g, vf_mul(vf_silu(vf_load(g)), vf_load(up + t * UNIT_ROWS)));
            float *out = value_data(w, op->outputs[0]) + (size_t)t * (size_t)width
                         + (size_t)unit * UNIT_ROWS;
            for (int r = 0; r < n_rows; r++) out[r] = g[r];
        }
    }
}
