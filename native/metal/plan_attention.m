/* Ops of attention: rotation, the cache, scores and values. */
#include "metal/plan_ops.h"

int plan_rope_table(metal_program *p, int at, const op_record *op)
{
    const weight_record *w = &p->tables.weights[op->weights[0]];
    rope_table_args args = {w->n_in, op->scale};
    dispatch *d = add_dispatch(p, at, KERNEL_rope_table, &args, sizeof args);
    if (!d) return -1;
    d->guard = COUNT_TOKENS;
    d->threads = SIMD_WIDTH;
    set_grid(d, 0, groups(w->n_in, SIMD_WIDTH), COUNT_ONE);
    set_grid(d, 1, 1, COUNT_TOKENS);
    bind_weight(p, d, BUFFER_OP, op->weights[0]);
    bind_value(p, d, BUFFER_OP + 1, op->outputs[0]);
    return 0;
}

static dispatch *add_attention(metal_program *p, int at, const op_record *op, enum kernel kernel,
                               int32_t threads)
{
    attention_args args = {
        .n_heads = op->n_heads,
        .n_kv_heads = op->n_kv_heads,
        .rotary_dim = op->rotary_dim,
        .neox = op->neox,
        .scale = op->scale,
        .eps = op->eps,
    };
    if (op->outputs[0] >= 0) args.rows = value_of(p, op->outputs[0])->rows;
    if (kernel == KERNEL_attention_scores || kernel == KERNEL_softmax)
        args.capacity = value_of(p, op->outputs[0])->width / op->n_heads;
    if (kernel == KERNEL_attention_mix)
        args.capacity = value_of(p, op->inputs[0])->width / op->n_heads;
    dispatch *d = add_dispatch(p, at, kernel, &args, sizeof args);
    if (!d) return NULL;
    d->guard = COUNT_TOKENS;
    d->threads = threads;
    set_constant(d, CONSTANT_HEAD_DIM, op->head_dim);
    return d;
}

/* rope, kv_write, the parts of attention: heads by tokens. `n_inputs` values, the slabs where the
 * kernel walks pages, then the output or the slabs it writes, then the gains of heads. */
int plan_heads(metal_program *p, int at, const op_record *op, enum kernel kernel,
                      int32_t heads)
{
    int writes = kernel == KERNEL_kv_write || kernel == KERNEL_rope_kv_write;
    int reads = kernel == KERNEL_attention_scores || kernel == KERNEL_attention_mix;
    int wide = reads || kernel == KERNEL_softmax;
    dispatch *d = add_attention(p, at, op, kernel, wide ? NORM_THREADS : SIMD_WIDTH);
    if (!d) return -1;
    d->uses_kv = reads || writes;
    set_grid(d, 0, heads, COUNT_ONE);
    set_grid(d, 1, 1, op->outputs[0] >= 0 ? rows_of(p, op->outputs[0]) : COUNT_TOKENS);
    int index = BUFFER_OP;
    for (int i = 0; i < RECORD_INPUTS && op->inputs[i] >= 0; i++)
        bind_value(p, d, index++, op->inputs[i]);
    if (reads) bind_source(d, index++, SOURCE_SLABS, nil, 0);
    if (op->outputs[0] >= 0) bind_value(p, d, index++, op->outputs[0]);
    if (writes) bind_source(d, index++, SOURCE_SLABS, nil, 0);
    if (kernel == KERNEL_rope_kv_write) set_constant(d, CONSTANT_HAS_NORM, op->weights[0] >= 0);
    for (int i = 0; i < RECORD_WEIGHTS && op->weights[i] >= 0; i++)
        bind_weight(p, d, index++, op->weights[i]);
    return 0;
}

/* Query heads that share one reading of the pages. */
static int32_t group_heads(const op_record *op)
{
    int32_t shared = op->n_heads / op->n_kv_heads, most = ATTENTION_MAX_HEADS;
    while (shared % most) most--;
    return most;
}

int plan_attention(metal_program *p, int at, const op_record *op)
{
    const int32_t group = group_heads(op), floats = op->n_heads * (op->head_dim + 2);
    for (int split = 0; split < 2; split++) {
        dispatch *d = add_attention(p, at, op, KERNEL_attention_decode, DECODE_THREADS);
        if (!d) return -1;
        d->uses_kv = 1;
        d->guard = COUNT_SPLITS;
        d->least = split ? 2 : 1;
        d->most = split ? INT32_MAX : 1;
        set_constant(d, CONSTANT_GROUP_HEADS, group);
        set_constant(d, CONSTANT_SPLIT, split);
        set_grid(d, 0, op->n_heads / group, COUNT_ONE);
        set_grid(d, 1, 1, COUNT_SINGLES);
        set_grid(d, 2, 1, COUNT_SPLITS);
        bind_value(p, d, BUFFER_OP, op->inputs[0]);
        bind_source(d, BUFFER_OP + 1, SOURCE_SLABS, nil, 0);
        if (split) {
            d->writes = SCRATCH_PARTIAL;
            bind_source(d, BUFFER_OP + 3, SOURCE_PARTIAL, nil, 0);
        } else
            bind_value(p, d, BUFFER_OP + 2, op->outputs[0]);
    }
    dispatch *d = add_attention(p, at, op, KERNEL_attention_prefill, PREFILL_THREADS);
    if (!d) return -1;
    d->uses_kv = 1;
    d->guard = COUNT_TILES;
    set_grid(d, 0, op->n_heads, COUNT_ONE);
    set_grid(d, 1, 1, COUNT_TILES);
    bind_value(p, d, BUFFER_OP, op->inputs[0]);
    bind_source(d, BUFFER_OP + 1, SOURCE_SLABS, nil, 0);
    bind_value(p, d, BUFFER_OP + 2, op->outputs[0]);

    d = add_attention(p, at, op, KERNEL_attention_reduce, SIMD_WIDTH);
    if (!d) return -1;
    d->waits = 1;
    d->reads = SCRATCH_PARTIAL;
    d->guard = COUNT_SPLITS;
    d->least = 2;
    set_grid(d, 0, op->n_heads, COUNT_ONE);
    set_grid(d, 1, 1, COUNT_SINGLES);
    bind_source(d, BUFFER_OP, SOURCE_PARTIAL, nil, 0);
    bind_value(p, d, BUFFER_OP + 1, op->outputs[0]);
    if (floats > p->heads_and_sizes) p->heads_and_sizes = floats;
    return 0;
}
