/* From op records to dispatches: which kernels an op becomes, with which constants and buffers.
 *
 * An op with a matrix becomes several dispatches of which a step runs one: matvec for 1, 2, 4 or 8
 * rows, and matmul for more. Everything here happens once, when a program is loaded.
 */
#include "metal/plan.h"

static dispatch *add_dispatch(metal_program *p, int op, enum kernel kernel, const void *arguments,
                              size_t bytes)
{
    if (p->n_dispatches == p->room_for_dispatches) {
        int room = p->room_for_dispatches ? 2 * p->room_for_dispatches : 256;
        dispatch *grown = realloc(p->dispatches, (size_t)room * sizeof *grown);
        char *data = grown ? realloc(p->argument_data, (size_t)room * ARGUMENT_STRIDE) : NULL;
        if (grown) p->dispatches = grown;
        if (!data) return NULL;
        p->argument_data = data;
        p->room_for_dispatches = room;
    }
    dispatch *d = &p->dispatches[p->n_dispatches];
    memset(d, 0, sizeof *d);
    d->op = op;
    d->kernel = kernel;
    d->key.kernel = kernel;
    d->least = 1;
    d->most = INT32_MAX;
    for (int i = 0; i < 3; i++) d->grid[i] = 1;
    d->arguments = (uint32_t)p->n_dispatches++ * ARGUMENT_STRIDE;
    memset(p->argument_data + d->arguments, 0, ARGUMENT_STRIDE);
    memcpy(p->argument_data + d->arguments, arguments, bytes);
    return d;
}

static void set_constant(dispatch *d, int index, int32_t value)
{
    d->key.defined |= 1u << index;
    d->key.values[index] = value;
}

static void bind_source(dispatch *d, int index, enum source source, id<MTLBuffer> buffer,
                        uint64_t offset)
{
    d->bindings[d->n_bindings++] = (binding){index, source, buffer, offset};
}

static void bind_value(const metal_program *p, dispatch *d, int index, int value)
{
    int64_t offset = p->tables.values[value].offset;
    if (offset == VALUE_IS_LOGITS)
        bind_source(d, index, SOURCE_LOGITS, nil, 0);
    else
        bind_source(d, index, SOURCE_FIXED, p->arena, (uint64_t)offset);
}

static void bind_weight(const metal_program *p, dispatch *d, int index, int weight)
{
    const metal_place *place = &p->places[weight];
    bind_source(d, index, SOURCE_FIXED, place->buffer->buffer, (uint64_t)place->offset);
}

static const value_record *value_of(const metal_program *p, int value)
{
    return &p->tables.values[value];
}

static enum count rows_of(const metal_program *p, int value)
{
    return value_of(p, value)->rows == ROWS_LOGITS ? COUNT_LOGITS : COUNT_TOKENS;
}

static int32_t groups(int64_t n, int32_t size) { return (int32_t)((n + size - 1) / size); }

static void set_grid(dispatch *d, int axis, int32_t fixed, enum count per)
{
    d->grid[axis] = fixed;
    d->per[axis] = per;
}

/* embed, select and the element-wise ops: a thread an element. */
static int plan_elements(metal_program *p, int at, const op_record *op, enum kernel kernel)
{
    const value_record *y = value_of(p, op->outputs[0]);
    element_args args = {.width = y->width, .rows = y->rows, .scale = op->scale};
    if (kernel == KERNEL_embed)
        args.row_bytes = (int32_t)p->tables.weights[op->weights[0]].row_bytes;
    dispatch *d = add_dispatch(p, at, kernel, &args, sizeof args);
    if (!d) return -1;
    d->guard = rows_of(p, op->outputs[0]);
    d->threads = ELEMENT_THREADS;
    set_grid(d, 0, groups(y->width, ELEMENT_THREADS), COUNT_ONE);
    set_grid(d, 1, 1, (enum count)d->guard);
    int index = BUFFER_OP;
    if (kernel == KERNEL_embed) {
        set_constant(d, CONSTANT_FORMAT_0, p->tables.weights[op->weights[0]].format);
        bind_weight(p, d, index++, op->weights[0]);
    }
    for (int i = 0; i < RECORD_INPUTS && op->inputs[i] >= 0; i++)
        bind_value(p, d, index++, op->inputs[i]);
    bind_value(p, d, index, op->outputs[0]);
    return 0;
}

/* One row a threadgroup. `scratch`: the result goes to p->norm instead of the op's output. */
static int plan_norm(metal_program *p, int at, const op_record *op, enum kernel kernel, int scratch)
{
    const value_record *x = value_of(p, op->inputs[0]), *y = value_of(p, op->outputs[0]);
    norm_args args = {.width = x->width, .rows = y->rows, .eps = op->eps};
    dispatch *d = add_dispatch(p, at, kernel, &args, sizeof args);
    if (!d) return -1;
    d->guard = rows_of(p, op->outputs[0]);
    d->threads = NORM_THREADS;
    set_grid(d, 0, 1, (enum count)d->guard);
    bind_value(p, d, BUFFER_OP, op->inputs[0]);
    bind_weight(p, d, BUFFER_OP + 1, op->weights[0]);
    int has_bias = kernel == KERNEL_layer_norm && op->weights[1] >= 0;
    if (kernel == KERNEL_layer_norm)
        set_constant(d, CONSTANT_HAS_BIAS_0, has_bias);
    else
        set_constant(d, CONSTANT_SELECTED, x->rows != y->rows);
    if (has_bias) bind_weight(p, d, BUFFER_OP + 2, op->weights[1]);
    int index = kernel == KERNEL_layer_norm ? BUFFER_OP + 3 : BUFFER_OP + 2;
    if (!scratch) {
        bind_value(p, d, index, op->outputs[0]);
        return 0;
    }
    d->writes = SCRATCH_NORM;
    d->least = MATVEC_MAX_TOKENS + 1;
    bind_source(d, index, SOURCE_FIXED, p->norm, 0);
    return 0;
}

/* What matvec and matmul share: the matrices of an op, its bias, residual and outputs. */
typedef struct {
    int n;              /* matrices */
    int first;          /* operand of the first matrix; then [b] [W b]... */
    int has_norm, selected, gate;
} matrices;

static dispatch *add_matrix_dispatch(metal_program *p, int at, const op_record *op, matrices m,
                                     enum kernel kernel, int32_t outs)
{
    const value_record *y = value_of(p, op->outputs[0]);
    matmul_args args = {.rows = y->rows, .eps = op->eps};
    int32_t end = 0;
    for (int i = 0; i < 3; i++) {
        if (i < m.n) {
            const weight_record *w = &p->tables.weights[op->weights[m.first + 2 * i]];
            args.n_in = w->n_in;
            args.n_out[i] = w->n_out;
            args.row_bytes[i] = (int32_t)w->row_bytes;
            if (!i || !m.gate) end += groups(w->n_out, outs);
        }
        args.end[i] = end;
    }
    dispatch *d = add_dispatch(p, at, kernel, &args, sizeof args);
    if (!d) return NULL;
    d->guard = rows_of(p, op->outputs[0]);
    set_grid(d, 0, end, COUNT_ONE);
    for (int i = 0; i < 3; i++) {
        int w = i < m.n ? op->weights[m.first + 2 * i] : -1;
        int b = i < m.n ? op->weights[m.first + 2 * i + 1] : -1;
        set_constant(d, CONSTANT_FORMAT_0 + i, w < 0 ? -1 : p->tables.weights[w].format);
        if (i) set_constant(d, CONSTANT_HAS_MATRIX_1 + i - 1, w >= 0);
        set_constant(d, CONSTANT_HAS_BIAS_0 + i, b >= 0);
        if (w >= 0) bind_weight(p, d, MATRIX_W + i, w);
        if (b >= 0) bind_weight(p, d, MATRIX_B + i, b);
        if (op->outputs[i] >= 0) bind_value(p, d, MATRIX_Y + i, op->outputs[i]);
    }
    int has_residual = op->op == OP_matmul_add;
    set_constant(d, CONSTANT_HAS_RESIDUAL, has_residual);
    set_constant(d, CONSTANT_GATE, m.gate);
    if (has_residual) bind_value(p, d, MATRIX_RESIDUAL, op->inputs[1]);
    return d;
}

static int plan_matvec(metal_program *p, int at, const op_record *op, matrices m)
{
    for (int32_t tokens = 1; tokens <= MATVEC_MAX_TOKENS; tokens *= 2) {
        dispatch *d = add_matrix_dispatch(p, at, op, m, KERNEL_matvec,
                                          MATVEC_SIMDGROUPS * MATVEC_ROWS);
        if (!d) return -1;
        d->least = tokens / 2 + 1;
        d->most = tokens;
        d->threads = SIMD_WIDTH * MATVEC_SIMDGROUPS;
        set_constant(d, CONSTANT_HAS_NORM, m.has_norm);
        set_constant(d, CONSTANT_TOKENS, tokens);
        set_constant(d, CONSTANT_SELECTED, m.selected);
        bind_value(p, d, MATRIX_X, op->inputs[0]);
        if (m.has_norm) bind_weight(p, d, MATRIX_GAIN, op->weights[0]);
    }
    return 0;
}

static int plan_matmul(metal_program *p, int at, const op_record *op, matrices m)
{
    dispatch *d = add_matrix_dispatch(p, at, op, m, KERNEL_matmul,
                                      m.gate ? MATMUL_GATE_OUTS : MATMUL_OUTS);
    if (!d) return -1;
    d->least = MATVEC_MAX_TOKENS + 1;
    d->threads = MATMUL_THREADS;
    set_grid(d, 1, 1, d->guard == COUNT_LOGITS ? COUNT_LOGIT_TILES : COUNT_TOKEN_TILES);
    if (m.has_norm) {
        d->waits = 1;
        d->reads = SCRATCH_NORM;
        bind_source(d, MATRIX_X, SOURCE_FIXED, p->norm, 0);
    } else
        bind_value(p, d, MATRIX_X, op->inputs[0]);
    return 0;
}

static int plan_matrices(metal_program *p, int at, const op_record *op)
{
    matrices m = {.n = 1};
    if (op->op == OP_norm_matmul || op->op == OP_norm_gate_up) {
        m.has_norm = m.first = 1;
        m.selected = value_of(p, op->inputs[0])->rows != value_of(p, op->outputs[0])->rows;
        while (m.n < 3 && op->weights[m.first + 2 * m.n] >= 0) m.n++;
    }
    if (op->op == OP_norm_gate_up) m.gate = op->gelu ? GATE_GELU : GATE_SILU;
    if (plan_matvec(p, at, op, m)) return -1;
    if (m.has_norm && plan_norm(p, at, op, KERNEL_rms_norm, 1)) return -1;
    return plan_matmul(p, at, op, m);
}

static int plan_rope_table(metal_program *p, int at, const op_record *op)
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
 * kernel walks pages, then the output or the slabs it writes. */
static int plan_heads(metal_program *p, int at, const op_record *op, enum kernel kernel,
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
    if (writes) bind_source(d, index, SOURCE_SLABS, nil, 0);
    return 0;
}

/* Query heads that share one reading of the pages. */
static int32_t group_heads(const op_record *op)
{
    int32_t shared = op->n_heads / op->n_kv_heads, most = ATTENTION_MAX_HEADS;
    while (shared % most) most--;
    return most;
}

static int plan_attention(metal_program *p, int at, const op_record *op)
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

static int plan_op(metal_program *p, int at, const op_record *op)
{
    switch ((enum op)op->op) {
    case OP_embed: return plan_elements(p, at, op, KERNEL_embed);
    case OP_select: return plan_elements(p, at, op, KERNEL_select);
    case OP_add: return plan_elements(p, at, op, KERNEL_add);
    case OP_mul: return plan_elements(p, at, op, KERNEL_mul);
    case OP_silu: return plan_elements(p, at, op, KERNEL_silu);
    case OP_gelu: return plan_elements(p, at, op, KERNEL_gelu);
    case OP_sigmoid: return plan_elements(p, at, op, KERNEL_sigmoid);
    case OP_tanh: return plan_elements(p, at, op, KERNEL_tanh);
    case OP_relu: return plan_elements(p, at, op, KERNEL_relu);
    case OP_scale: return plan_elements(p, at, op, KERNEL_scale);
    case OP_rms_norm: return plan_norm(p, at, op, KERNEL_rms_norm, 0);
    case OP_layer_norm: return plan_norm(p, at, op, KERNEL_layer_norm, 0);
    case OP_matmul:
    case OP_matmul_add:
    case OP_norm_matmul:
    case OP_norm_gate_up: return plan_matrices(p, at, op);
    case OP_rope_table: return plan_rope_table(p, at, op);
    case OP_rope: return plan_heads(p, at, op, KERNEL_rope, op->n_heads);
    case OP_kv_write: return plan_heads(p, at, op, KERNEL_kv_write, op->n_kv_heads);
    case OP_rope_kv_write:
        return plan_heads(p, at, op, KERNEL_rope_kv_write, op->n_heads + op->n_kv_heads);
    case OP_attention_scores: return plan_heads(p, at, op, KERNEL_attention_scores, op->n_heads);
    case OP_softmax: return plan_heads(p, at, op, KERNEL_softmax, op->n_heads);
    case OP_attention_mix: return plan_heads(p, at, op, KERNEL_attention_mix, op->n_heads);
    case OP_attention: return plan_attention(p, at, op);
    case OP_COUNT: break;
    }
    return -1;
}

/* argmax and top_k of the logits, in place of reading them back. */
static int plan_top(metal_program *p)
{
    for (int i = 0; i < 2; i++) {
        top_args args = {p->n_vocab, 1};
        dispatch *d = add_dispatch(p, p->tables.n_ops, i ? KERNEL_top_k : KERNEL_argmax, &args,
                                   sizeof args);
        if (!d) return -1;
        d->guard = i ? COUNT_TOP_K : COUNT_ARGMAX;
        d->waits = 1;
        d->threads = TOP_THREADS;
        set_grid(d, 0, 1, (enum count)d->guard);
        bind_source(d, BUFFER_OP, SOURCE_LOGITS, nil, 0);
        bind_source(d, BUFFER_OP + 1, SOURCE_TOP, nil, 0);
        p->top_arguments[i] = d->arguments;
    }
    return 0;
}

/* The kernels' registers hold heads of MAX_HEAD_DIM dimensions, and go through them by pairs. */
static int is_head(const op_record *op, metal_error *error)
{
    if (op->head_dim <= MAX_HEAD_DIM && op->head_dim % 2 == 0) return 1;
    set_error(error, @"heads of %d dimensions: the kernels take even numbers up to %d; use "
                     @"device=\"cpu\"", op->head_dim, MAX_HEAD_DIM);
    return 0;
}

int plan_program(metal_program *p, metal_error *error)
{
    for (int i = 0; i < p->tables.n_ops; i++) {
        if (!is_head(&p->tables.ops[i], error)) return -1;
        if (!plan_op(p, i, &p->tables.ops[i])) continue;
        set_error(error, @"op %d of the program cannot be planned: out of memory", i);
        return -1;
    }
    if (!plan_top(p)) return 0;
    set_error(error, @"out of memory for a program");
    return -1;
}

void plan_for_kv(metal_program *p, const metal_kv *kv)
{
    for (int i = 0; i < p->n_dispatches; i++) {
        dispatch *d = &p->dispatches[i];
        if (!d->uses_kv) continue;
        const op_record *op = &p->tables.ops[d->op];
        attention_args *args = (attention_args *)((char *)[p->arguments contents] + d->arguments);
        args->page_bytes = (uint32_t)kv->page_bytes;
        args->layer_bytes = (uint32_t)(op->layer * kv->layer_bytes);
        set_constant(d, CONSTANT_KV_F16, kv->f16);
        d->state = nil;
    }
    p->kv = kv->number;
}
