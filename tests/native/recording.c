/* Small Programs, recorded in C and run through the CPU device's own surface. */
#include "recording.h"

#include "cpu/packed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void recording_free(recording *r)
{
    for (int i = 0; i < r->n_memory; i++) guarded_free(r->memory[i]);
}

int add_value(recording *r, int width)
{
    /* as many rows as any batch of these tests has tokens, on lines of 64 bytes */
    enum { ROWS = 256 };
    r->values[r->n_values] = (value_record){r->arena_bytes, width, ROWS_TOKENS};
    r->arena_bytes += ((int64_t)width * ROWS * 4 + 63) / 64 * 64;
    return r->n_values++;
}

int add_result(recording *r, int width)
{
    r->values[r->n_values] = (value_record){VALUE_IS_LOGITS, width, ROWS_TOKENS};
    r->result_width = width;
    return r->n_values++;
}

static void *add_memory(recording *r, size_t nbytes)
{
    guarded g = guarded_alloc(nbytes, r->edge);
    r->memory[r->n_memory++] = g;
    return g.data;
}

static int add_rows(recording *r, int format, int n_out, int n_in, size_t row_bytes)
{
    void *data = add_memory(r, (size_t)n_out * row_bytes);
    r->weights[r->n_weights] = (weight_record){data, (int64_t)row_bytes, format, n_out, n_in, 0};
    return r->n_weights++;
}

static int add_copy(recording *r, int format, int n_out, int n_in, size_t row_bytes, const void *x)
{
    int weight = add_rows(r, format, n_out, n_in, row_bytes);
    memcpy(r->memory[r->n_memory - 1].data, x, (size_t)n_out * row_bytes);
    return weight;
}

static void random_block(const format_info *format, uint8_t *block)
{
    float y[256], most;
    do {
        for (int i = 0; i < format->block_bytes; i++) block[i] = (uint8_t)random_u32();
        format->decode(block, y, 1);
        most = 0.0f;
        for (int i = 0; i < format->block_weights; i++)
            most = fabsf(y[i]) <= most ? most : fabsf(y[i]); /* a NaN stays */
    } while (!(most >= 0x1p-10f && most <= 1.0f));
}

int add_table(recording *r, enum format format, int n_out, int n_in)
{
    int count;
    const format_info *info = &format_table(&count)[format];
    size_t blocks = (size_t)(n_in / info->block_weights), bytes = (size_t)info->block_bytes;
    int weight = add_rows(r, (int)format, n_out, n_in, blocks * bytes);
    uint8_t *data = r->memory[r->n_memory - 1].data;
    for (size_t i = 0; i < (size_t)n_out * blocks; i++) random_block(info, data + i * bytes);
    r->last_blocks = data;
    return weight;
}

int add_matrix(recording *r, enum format format, int n_out, int n_in)
{
    int weight = add_table(r, format, n_out, n_in);
    size_t nbytes = cpu_packed_bytes((int)format, n_out, n_in);
    if (nbytes == 0) return weight;
    CHECK(nbytes % 64 == 0, "%zu bytes: the guard page would not be beside them", nbytes);
    void *packed = add_memory(r, nbytes);
    cpu_device *device = cpu_device_create(0, 2);
    size_t stride = cpu_packed_bytes((int)format, 1, n_in);
    CHECK(cpu_pack(device, &r->weights[weight], packed, stride) == 0, "format %d is not packed", format);
    CHECK(cpu_pack(device, &r->weights[weight], packed, stride - 1) < 0, "groups that overlap");
    cpu_device_destroy(device);
    r->weights[weight].data = packed;
    r->weights[weight].row_bytes = (int64_t)stride / GROUP_ROWS;
    r->weights[weight].packed = 1;
    return weight;
}

int add_floats(recording *r, int n_out, int n_in, const float *x)
{
    return add_copy(r, FORMAT_F32, n_out, n_in, (size_t)n_in * sizeof *x, x);
}

int add_doubles(recording *r, int n_in, const double *x)
{
    return add_copy(r, FORMAT_F64, 1, n_in, (size_t)n_in * sizeof *x, x);
}

op_record *add_op(recording *r, enum op op)
{
    op_record *record = &r->ops[r->n_ops++];
    *record = (op_record){.op = (int32_t)op, .layer = 0, .barrier = 1};
    for (int i = 0; i < RECORD_INPUTS; i++) record->inputs[i] = -1;
    for (int i = 0; i < RECORD_OUTPUTS; i++) record->outputs[i] = -1;
    for (int i = 0; i < RECORD_WEIGHTS; i++) record->weights[i] = -1;
    return record;
}

op_record *add_op_xyw(recording *r, enum op op, int x, int y, int weight)
{
    op_record *record = add_op(r, op);
    record->inputs[0] = x;
    record->outputs[0] = y;
    record->weights[0] = weight;
    return record;
}

int add_input(recording *r, int n_rows, int width, const float *x)
{
    int value = add_value(r, width);
    add_op_xyw(r, OP_embed, -1, value, add_floats(r, n_rows, width, x));
    return value;
}

float *decode_last(const recording *r)
{
    int count;
    const weight_record *w = &r->weights[r->n_weights - 1];
    size_t weights = (size_t)w->n_out * (size_t)w->n_in;
    float *y = malloc(weights * sizeof *y);
    size_t block_weights = (size_t)format_table(&count)[w->format].block_weights;
    decode_rows(w->format, r->last_blocks, y, weights / block_weights);
    return y;
}

void fill_activations(float *x, int n_tokens, int n_in)
{
    for (int t = 0; t < n_tokens; t++) {
        float scale = t % 5 == 3 ? 0.0f : ldexpf(1.0f, random_below(20) - 10);
        for (int i = 0; i < n_in; i++) x[t * n_in + i] = scale * random_float();
        if (t % 5 == 4) x[t * n_in + random_below(n_in)] = 100.0f * scale; /* an outlier */
    }
}

batch batch_of(int n_sequences, const int *lengths)
{
    batch b = {.n_sequences = n_sequences, .max_pages = 1};
    for (int s = 0; s < n_sequences; s++) {
        int pages = (lengths[s] + PAGE_TOKENS - 1) / PAGE_TOKENS;
        b.n_tokens += lengths[s];
        b.max_pages = pages > b.max_pages ? pages : b.max_pages;
    }
    size_t n = (size_t)b.n_tokens, n_pages = (size_t)batch_pages(&b);
    b.ids = malloc(n * sizeof *b.ids);
    b.positions = malloc(n * sizeof *b.positions);
    b.sequences = malloc(n * sizeof *b.sequences);
    b.page_table = malloc(n_pages * sizeof *b.page_table);
    for (int s = 0, i = 0; s < n_sequences; s++)
        for (int p = 0; p < lengths[s]; p++, i++) {
            b.ids[i] = i;
            b.positions[i] = p;
            b.sequences[i] = s;
        }
    for (int i = 0; i < (int)n_pages; i++) { /* Fisher and Yates' shuffle, as it fills */
        int j = random_below(i + 1);
        b.page_table[i] = b.page_table[j];
        b.page_table[j] = i;
    }
    return b;
}

void batch_free(batch b)
{
    free(b.ids);
    free(b.positions);
    free(b.sequences);
    free(b.page_table);
}

int batch_pages(const batch *b) { return b->n_sequences * b->max_pages; }

step batch_step(const batch *b, int first, int n, float *to)
{
    return (step){
        .n_tokens = n,
        .n_sequences = b->n_sequences,
        .max_pages = b->max_pages,
        .token_ids = b->ids + first,
        .positions = b->positions + first,
        .sequences = b->sequences + first,
        .page_table = b->page_table,
        .logits = to,
    };
}

program_tables tables_of(const recording *r, int max_tokens)
{
    return (program_tables){
        r->ops,     r->values,    r->weights, r->n_ops, r->n_values,
        r->n_weights, max_tokens, 0,          r->arena_bytes,
    };
}

void run_recording(const recording *r, setting s, kv_shape shape, const batch *b, float *result)
{
    int chunk = s.chunk ? s.chunk : b->n_tokens, bad_op, never = 0;
    int width = r->result_width;
    program_tables tables = tables_of(r, chunk);
    cpu_device *device = cpu_device_create(s.isa, s.n_threads);
    cpu_program *program = cpu_program_create(device, &tables, &bad_op);
    cpu_kv *kv = cpu_kv_create(shape.n_layers, shape.n_kv_heads, shape.head_dim, shape.type);
    CHECK(program && kv && cpu_kv_grow(kv, batch_pages(b)) == 0, "op %d is refused", bad_op);
    guarded logits = guarded_alloc((size_t)chunk * (size_t)width * sizeof(float), EDGE_END);
    for (int first = 0; first < b->n_tokens; first += chunk) {
        int n = b->n_tokens - first < chunk ? b->n_tokens - first : chunk;
        step part = batch_step(b, first, n, logits.data);
        int status = cpu_step(device, program, kv, &part, &never, NULL);
        CHECK(status == STEP_OK, "status %d of tokens %d to %d", status, first, first + n);
        memcpy(result + (size_t)first * (size_t)width, logits.data,
               (size_t)n * (size_t)width * sizeof *result);
    }
    guarded_free(logits);
    cpu_kv_destroy(kv);
    cpu_program_destroy(program);
    cpu_device_destroy(device);
}
