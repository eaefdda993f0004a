/* From op records to dispatches: which kernels an op becomes, with which constants and buffers.
 *
 * Everything here happens once, when a program is loaded. plan_matrices.m and plan_attention.m have
 * the ops that become more than one dispatch.
 */
#include "metal/plan_ops.h"

dispatch *add_dispatch(metal_program *p, int op, enum kernel kernel, const void *arguments,
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

void set_constant(dispatch *d, int index, int32_t value)
{
    d->key.defined |= 1u << index;
    d->key.values[index] = value;
}

void bind_source(dispatch *d, int index, enum source source, id<MTLBuffer> buffer,
                 uint64_t offset)
{
    d->bindings[d->n_bindings++] = (binding){index, source, buffer, offset};
}

void bind_value(const metal_program *p, dispatch *d, int index, int value)
{
    int64_t offset = p->tables.values[value].offset;
    if (offset == VALUE_IS_LOGITS)
        bind_source(d, index, SOURCE_LOGITS, nil, 0);
    else
        bind_source(d, index, SOURCE_FIXED, p->arena, (uint64_t)offset);
}

void bind_weight(const metal_program *p, dispatch *d, int index, int weight)
{
    const metal_place *place = &p->places[weight];
    bind_source(d, index, SOURCE_FIXED, place->buffer->buffer, (uint64_t)place->offset);
}

void set_grid(dispatch *d, int axis, int32_t fixed, enum count per)
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

/* One row as long as the gain, a token's or a head's, a threadgroup. `scratch`: the result goes to
 * p->norm instead of the op's output. */
int plan_norm(metal_program *p, int at, const op_record *op, enum kernel kernel, int scratch)
{
    const value_record *x = value_of(p, op->inputs[0]), *y = value_of(p, op->outputs[0]);
    const int32_t width = p->tables.weights[op->weights[0]].n_in;
    norm_args args = {.width = width, .rows = y->rows, .eps = op->eps};
    dispatch *d = add_dispatch(p, at, kernel, &args, sizeof args);
    if (!d) return -1;
    d->guard = rows_of(p, op->outputs[0]);
    d->threads = NORM_THREADS;
    set_grid(d, 0, x->width / width, (enum count)d->guard);
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
