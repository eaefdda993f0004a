/* Ops with matrices: matmul, matmul_add, norm_matmul, norm_gate_up.
 *
 * Each becomes several dispatches of which a step runs one: matvec for 1, 2, 4 or 8 rows, and matmul
 * for more, with the norm as a dispatch of its own before it.
 */
#include "metal/plan_ops.h"

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

int plan_matrices(metal_program *p, int at, const op_record *op)
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
