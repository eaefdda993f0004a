/* Rotary positions, and the writing of keys and values into the pages of the KV cache.
 * RoPE: Su et al. 2021, arXiv:2104.09864.
 */

/* cos and sin of position * inv_freq, in pairs: [n_tokens, rotary_dim / 2, 2]. In double, since at
 * position 100,000 a float32 angle is off by more than a hundredth of a radian. */
static void op_rope_table(work *w, const op_record *op)
{
    const weight_record *inv_freq = &w->program->tables.weights[op->weights[0]];
    int first, end, n = inv_freq->n_in;
    while (next_units(w, w->step->n_tokens, &first, &end))
        for (int t = first; t < end; t++) {
            float *y = value_data(w, op->outputs[0]) + (size_t)t * (size_t)(2 * n);
            for (int i = 0; i < n; i++) {
                double angle = w->step->positions[t] * ((const double *)inv_freq->data)[i];
                y[2 * i] = (float)cos(angle) * op->scale;
                y[2 * i + 1] = (float)sin(angle) * op->scale;
            }
        }
}

/* Pairs i to n. The second of a pair is `apart` from its first, and a first `step` from the next one. */
V_INLINE void turn_pairs(int i, int n, int apart, int step, const float *x, const float *table, float *y)
{
    for (; i < n; i++) {
        const float c = table[2 * i], s = table[2 * i + 1];
        const float a = x[i * step], b = x[i * step + apart];
        y[i * step] = fmaf(a, c, -(b * s));
        y[i * step + apart] = fmaf(a, s, b * c);
    }
}

V_INLINE void rope_head(const op_record *op, const float *x, const float *table, float *y)
{
    const int n = op->rotary_dim / 2;
    if (op->neox) {
        turn_pairs(0, n, n, 1, x, table, y);
    } else {
        int i = 0;
        for (; i + 8 <= n; i += 8)
            vf_store(y + 2 * i, vf_turn(vf_load(x + 2 * i), vf_load(table + 2 * i)));
        turn_pairs(i, n, 1, 2, x, table, y);
    }
    for (int i = op->rotary_dim; i < op->head_dim; i++) y[i] = x[i];
}

/* Turns heads [n_heads, head_dim], normalised before by `gain` [head_dim] unless that is NULL. */
V_INLINE void rope_heads(const op_record *op, int n_heads, const float *x, const float *gain,
                         const float *table, float *y)
{
    for (int h = 0; h < n_heads; h++, x += op->head_dim, y += op->head_dim) {
        if (gain) rms_norm_row(x, gain, op->head_dim, op->eps, y);
        rope_head(op, gain ? y : x, table, y); /* in place: a pair is read before it is written */
    }
}

V_INLINE void kv_store(char *to, size_t index, float x, int type)
{
    if (type == KV_F16) ((uint16_t *)to)[index] = f32_to_f16(x);
    else ((float *)to)[index] = x;
}

/* One head's key and value of a token: [head_dim] each. */
V_INLINE void kv_write_head(const work *w, int layer, int token, int head, const float *k,
                            const float *v)
{
    const cpu_kv *kv = w->kv;
    const step *s = w->step;
    int position = s->positions[token], at = position % PAGE_TOKENS;
    int page = s->page_table[s->sequences[token] * s->max_pages + position / PAGE_TOKENS];
    char *kp = kv_k(kv, page, layer), *vp = kv_v(kv, page, layer);
    const size_t k_at = (size_t)(head * kv->head_dim * PAGE_TOKENS + at);
    const size_t v_at = (size_t)((head * PAGE_TOKENS + at) * kv->head_stride);
    int i = 0;
    for (; kv->type == KV_F16 && i + 16 <= kv->head_dim; i += 16) {
        uint16_t halves[16], *to = (uint16_t *)kp + k_at + (size_t)(i * PAGE_TOKENS);
        vf_store_f16(halves, vf_load(k + i));
        for (int j = 0; j < 16; j++) to[j * PAGE_TOKENS] = halves[j];
        vf_store_f16((uint16_t *)vp + v_at + i, vf_load(v + i));
    }
    for (; i < kv->head_dim; i++) {
        kv_store(kp, k_at + (size_t)(i * PAGE_TOKENS), k[i], kv->type);
        kv_store(vp, v_at + (size_t)i, v[i], kv->type);
    }
}

static void op_rope(work *w, const op_record *op)
{
    int first, end, width = value_width(w, op->inputs[0]);
    while (next_units(w, w->step->n_tokens, &first, &end))
        for (int t = first; t < end; t++)
            rope_heads(op, op->n_heads, value_data(w, op->inputs[0]) + (size_t)t * (size_t)width,
                       NULL, value_data(w, op->inputs[1]) + (size_t)t * (size_t)op->rotary_dim,
                       value_data(w, op->outputs[0]) + (size_t)t * (size_t)width);
}

static void op_kv_write(work *w, const op_record *op)
{
    int first, end;
    const int n_heads = w->kv->n_kv_heads, head_dim = w->kv->head_dim;
    while (next_units(w, w->step->n_tokens * n_heads, &first, &end))
        for (int i = first; i < end; i++) {
            size_t from = (size_t)i * (size_t)head_dim;
            kv_write_head(w, op->layer, i / n_heads, i % n_heads,
                          value_data(w, op->inputs[0]) + from, value_data(w, op->inputs[1]) + from);
        }
}

/* A key and value head of a token at a time, with the query heads that will use it. */
static void op_rope_kv_write(work *w, const op_record *op)
{
    int first, end;
    const int n_kv_heads = op->n_kv_heads, group = op->n_heads / n_kv_heads;
    const size_t head_dim = (size_t)op->head_dim;
    const float *gain_q = op->weights[0] < 0 ? NULL : weight_floats(w, op->weights[0]);
    const float *gain_k = op->weights[1] < 0 ? NULL : weight_floats(w, op->weights[1]);
    float *k = (float *)w->scratch; /* [head_dim], turned */
    while (next_units(w, w->step->n_tokens * n_kv_heads, &first, &end))
        for (int i = first; i < end; i++) {
            const int t = i / n_kv_heads;
            const size_t q_at = (size_t)(i * group) * head_dim, kv_at = (size_t)i * head_dim;
            const float *table = value_data(w, op->inputs[3]) + (size_t)t * (size_t)op->rotary_dim;
            rope_heads(op, group, value_data(w, op->inputs[0]) + q_at, gain_q, table,
                       value_data(w, op->outputs[0]) + q_at);
            rope_heads(op, 1, value_data(w, op->inputs[1]) + kv_at, gain_k, table, k);
            kv_write_head(w, op->layer, t, i % n_kv_heads, k, value_data(w, op->inputs[2]) + kv_at);
        }
}
