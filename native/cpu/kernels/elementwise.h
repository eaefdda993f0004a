/* rms_norm by itself, and the ops that treat every element alike: silu, mul, add. */

static void op_rms_norm(work *w, const op_record *op)
{
    int first, end, width = value_width(w, op->inputs[0]);
    thread_share(w, value_rows(w, op->inputs[0]), &first, &end);
    for (int t = first; t < end; t++) {
        size_t at = (size_t)t * (size_t)width;
        rms_norm_row(value_data(w, op->inputs[0]) + at, weight_floats(w, op->weights[0]), width,
                     op->eps, value_data(w, op->outputs[0]) + at);
    }
}

typedef vf element_op(vf a, vf b);
V_INLINE vf element_silu(vf a, vf b)
{
    (void)b;
    return vf_silu(a);
}

V_INLINE void each_element(work *w, const op_record *op, const float *b, element_op f)
{
    int first, end, width = value_width(w, op->outputs[0]);
    const float *a = value_data(w, op->inputs[0]);
    float *y = value_data(w, op->outputs[0]);
    thread_share(w, value_rows(w, op->outputs[0]), &first, &end);
    size_t i = (size_t)first * (size_t)width, n = (size_t)end * (size_t)width;
    for (; i + 16 <= n; i += 16) vf_store(y + i, f(vf_load(a + i), vf_load(b + i)));
    if (i >= n) return;
    float tail[16];
    vf_store(tail, f(vf_load_part(a + i, (int)(n - i)), vf_load_part(b + i, (int)(n - i))));
    memcpy(y + i, tail, (n - i) * sizeof *y);
}

static void op_silu(work *w, const op_record *op)
{
    each_element(w, op, value_data(w, op->inputs[0]), element_silu);
}

static void op_mul(work *w, const op_record *op)
{
    each_element(w, op, value_data(w, op->inputs[1]), vf_mul);
}

static void op_add(work *w, const op_record *op)
{
    each_element(w, op, value_data(w, op->inputs[1]), vf_add);
}
