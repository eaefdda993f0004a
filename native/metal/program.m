/* Programs on the GPU: their buffers, made once, so that a step allocates nothing. */
#include "metal/plan.h"

static void *copy_of(const void *from, size_t count, size_t size)
{
    void *to = malloc(count * size + 1);
    if (to) memcpy(to, from, count * size);
    return to;
}

static int copy_tables(metal_program *p, const program_tables *t, const metal_place *places)
{
    p->tables = *t;
    p->tables.ops = copy_of(t->ops, (size_t)t->n_ops, sizeof *t->ops);
    p->tables.values = copy_of(t->values, (size_t)t->n_values, sizeof *t->values);
    p->tables.weights = copy_of(t->weights, (size_t)t->n_weights, sizeof *t->weights);
    p->places = copy_of(places, (size_t)t->n_weights, sizeof *places);
    return p->tables.ops && p->tables.values && p->tables.weights && p->places ? 0 : -1;
}

/* Bytes of the largest rows that are normalised before a matmul. */
static size_t norm_bytes(const program_tables *t)
{
    int32_t widest = 0, rows = t->max_tokens > t->max_logits ? t->max_tokens : t->max_logits;
    for (int i = 0; i < t->n_ops; i++) {
        const op_record *op = &t->ops[i];
        if (op->op != OP_norm_matmul && op->op != OP_norm_gate_up) continue;
        int32_t width = t->values[op->inputs[0]].width;
        if (width > widest) widest = width;
    }
    return rows > MATVEC_MAX_TOKENS ? (size_t)rows * (size_t)widest * sizeof(float) : 0;
}

static int make_buffers(metal_program *p, metal_error *error)
{
    const MTLResourceOptions shared = MTLResourceStorageModeShared;
    const program_tables *t = &p->tables;
    size_t scratch = norm_bytes(t);
    p->arena = new_buffer(p->device, (size_t)t->arena_bytes, shared, "activations", error);
    if (!p->arena) return -1;
    if (scratch) {
        p->norm = new_buffer(p->device, scratch, MTLResourceStorageModePrivate, "activations",
                             error);
        if (!p->norm) return -1;
    }
    if (plan_program(p, error)) return -1;
    size_t bytes = (size_t)p->n_dispatches * ARGUMENT_STRIDE;
    p->arguments = new_buffer(p->device, bytes, shared, "arguments", error);
    if (!p->arguments) return -1;
    memcpy([p->arguments contents], p->argument_data, bytes);
    free(p->argument_data);
    p->argument_data = NULL;
    return 0;
}

metal_program *metal_program_create(metal_device *device, const program_tables *tables,
                                    const metal_place *places, metal_error *error)
{
    const op_record *last = tables->n_ops > 0 ? &tables->ops[tables->n_ops - 1] : NULL;
    int bad = program_check(tables);
    if (bad < 0 && (!last || last->outputs[0] < 0)) bad = tables->n_ops - 1; /* nothing to give */
    if (bad >= 0 || !last) {
        set_error(error, @"op %d of the program is damaged", bad);
        return NULL;
    }
    metal_program *p = calloc(1, sizeof *p);
    if (!p) {
        set_error(error, @"out of memory for a program");
        return NULL;
    }
    @autoreleasepool {
        p->device = device;
        p->n_vocab = tables->values[last->outputs[0]].width;
        p->has_row_a_token = tables->values[last->outputs[0]].rows == ROWS_TOKENS;
        if (copy_tables(p, tables, places))
            set_error(error, @"out of memory for a program");
        else if (!make_buffers(p, error))
            return p;
        metal_program_destroy(p);
        return NULL;
    }
}

void metal_program_destroy(metal_program *p)
{
    if (!p || is_forked(NULL)) return;
    @autoreleasepool {
        [p->ahead release];
        id<MTLBuffer> *const buffers[] = {&p->arguments, &p->arena,  &p->norm, &p->partial,
                                          &p->step,      &p->logits, &p->top};
        for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
            drop_buffer(p->device, buffers[i]);
    }
    free((void *)p->tables.ops);
    free((void *)p->tables.values);
    free((void *)p->tables.weights);
    free(p->places);
    free(p->dispatches);
    free(p->argument_data);
    free(p);
}

const float *metal_program_value(const metal_program *p, int value)
{
    if (value < 0 || value >= p->tables.n_values || p->tables.values[value].offset < 0) return NULL;
    return (const float *)((const char *)[p->arena contents] + p->tables.values[value].offset);
}

metal_statistics metal_program_statistics(const metal_program *p) { return p->statistics; }
