/* rms_norm and layer_norm by themselves, and the ops that treat every element alike. */

static void op_rms_norm(work *w, const op_record *op)
{
    int first, end, width = w->program->tables.weights[op->weights[0]].n_in; /* of a head, it may be */
    int total = value_rows(w, op->inputs[0]) * (value_width(w, op->inputs[0]) / width);
    while (next_units(w, total, &first, &end))
        for (int t = first; t < end; t++) {
            size_t at = (size_t)t * (size_t)width;
            rms_norm_row(value_data(w, op->inputs[0]) + at, weight_floats(w, op->weights[0]), width,
                         op->eps, value_data(w, op->outputs[0]) + at);
        }
}

/* The mean first, and then the squares of what is left: sums of x and of x^2 would cancel. Loops
 * over single elements are the same bits however a compiler makes vectors of them. */
V_INLINE void layer_norm_row(const float *x, const float *gain, const float *bias, int n, float eps,
                             float *y)
{
    vf sum = vf_zero();
    int i = 0;
    for (; i + 16 <= n; i += 16) sum = vf_add(sum, vf_load(x + i));
    float mean = vf_sum(vf_add(sum, vf_load_part(x + i, n - i))) / (float)n;
    for (i = 0; i < n; i++) y[i] = x[i] - mean;
    float scale = 1.0f / sqrtf(sum_of_squares(y, n) / (float)n + eps);
    for (i = 0; i < n; i++) y[i] = y[i] * scale * gain[i];
    for (i = 0; bias && i < n; i++) y[i] += bias[i];
}

static void op_layer_norm(work *w, const op_record *op)
{
    int first, end, width = value_width(w, op->inputs[0]);
    const float *bias = op->weights[1] >= 0 ? weight_floats(w, op->weights[1]) : NULL;
    while (next_units(w, value_rows(w, op->inputs[0]), &first, &end))
        for (int t = first; t < end; t++) {
            size_t at = (size_t)t * (size_t)width;
            layer_norm_row(value_data(w, op->inputs[0]) + at, weight_floats(w, op->weights[0]),
                           bias, width, op->eps, value_data(w, op->outputs[0]) + at);
        }
}

/* y = f(a, b, scale), where b is a for ops of one input. */
typedef vf element_function_of_two(vf a, vf b, vf scale);

V_INLINE void each_element(work *w, const op_record *op, element_function_of_two f)
{
    int first, end, width = value_width(w, op->outputs[0]);
    const float *a = value_data(w, op->inputs[0]);
    const float *b = op->inputs[1] >= 0 ? value_data(w, op->inputs[1]) : a;
    float *y = value_data(w, op->outputs[0]);
    const vf scale = vf_set(op->scale);
    while (next_units(w, value_rows(w, op->outputs[0]), &first, &end)) {
        size_t i = (size_t)first * (size_t)width, n = (size_t)end * (size_t)width;
        for (; i + 16 <= n; i += 16) vf_store(y + i, f(vf_load(a + i), vf_load(b + i), scale));
        if (i >= n) continue;
        int rest = (int)(n - i);
        vf_store_part(y + i, f(vf_load_part(a + i, rest), vf_load_part(b + i, rest), scale), rest);
    }
}

#define ELEMENT_OP(name, result)                       \
    V_INLINE vf each_##name(vf a, vf b, vf scale)      \
    {                                                  \
        (void)b;                                       \
        (void)scale;                                   \
        return result;                                 \
    }                                                  \
    static void op_##name(work *w, const op_record *op) \
    {                                                  \
        each_element(w, op, each_##name);              \
    }

ELEMENT_OP(silu, vf_silu(a))
ELEMENT_OP(gelu, vf_gelu(a))
ELEMENT_OP(sigmoid, vf_sigmoid(a))
ELEMENT_OP(tanh, vf_tanh(a))
ELEMENT_OP(relu, vf_max(vf_zero(), a)) /* the second operand where it is NaN */
ELEMENT_OP(scale, vf_mul(a, scale))
ELEMENT_OP(mul, vf_mul(a, b))
ELEMENT_OP(add, vf_add(a, b))
