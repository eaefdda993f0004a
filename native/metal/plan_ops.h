/* What the planners of single ops share. Each makes the dispatches of one op: 0, or -1 out of memory. */
#ifndef SMELT_METAL_PLAN_OPS_H
#define SMELT_METAL_PLAN_OPS_H

#include "metal/plan.h"

/* A dispatch with a copy of its argument struct: guarded by at least one row, one threadgroup. NULL:
 * out of memory. The next call may move it. */
dispatch *add_dispatch(metal_program *p, int op, enum kernel kernel, const void *arguments,
                       size_t bytes);
void set_constant(dispatch *d, int index, int32_t value);
void set_grid(dispatch *d, int axis, int32_t fixed, enum count per);
void bind_source(dispatch *d, int index, enum source source, id<MTLBuffer> buffer,
                 uint64_t offset);
void bind_value(const metal_program *p, dispatch *d, int index, int value);
void bind_weight(const metal_program *p, dispatch *d, int index, int weight);

static inline const value_record *value_of(const metal_program *p, int value)
{
    return &p->tables.values[value];
}

static inline enum count rows_of(const metal_program *p, int value)
{
    return value_of(p, value)->rows == ROWS_LOGITS ? COUNT_LOGITS : COUNT_TOKENS;
}

static inline int32_t groups(int64_t n, int32_t size) { return (int32_t)((n + size - 1) / size); }

/* `scratch`: the normalised rows go to p->norm instead of the op's output. */
int plan_norm(metal_program *p, int at, const op_record *op, enum kernel kernel, int scratch);
int plan_matrices(metal_program *p, int at, const op_record *op);
int plan_rope_table(metal_program *p, int at, const op_record *op);
/* rope, kv_write, the parts of attention: `heads` by tokens. */
int plan_heads(metal_program *p, int at, const op_record *op, enum kernel kernel, int32_t heads);
int plan_attention(metal_program *p, int at, const op_record *op);

#endif
