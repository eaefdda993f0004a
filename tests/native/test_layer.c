/* A whole layer with a different format in every weight, a Llama's and one with Qwen3's norms of
 * heads: the fused ops give the bits of the plain ones, and every instruction set, number of threads
 * and chunk gives the scalar bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "recording.h"

enum { D_MODEL = 256, D_FF = 512, N_HEADS = 4, N_KV_HEADS = 2, HEAD_DIM = 64, N_VOCAB = 37 };
enum { KV_DIM = N_KV_HEADS * HEAD_DIM };

typedef struct {
    int norm, q, k, v, q_bias, gain_q, gain_k, out, ffn_norm, gate, up, down, inv_freq, head;
} weights;

static int add_vector(recording *r, int n)
{
    float x[D_FF];
    for (int i = 0; i < n; i++) x[i] = 1.0f + 0.5f * random_float();
    return add_floats(r, 1, n, x);
}

static weights add_weights(recording *r, int head_norms)
{
    double inv_freq[HEAD_DIM / 2];
    for (int i = 0; i < HEAD_DIM / 2; i++) inv_freq[i] = pow(10000.0, -2.0 * i / HEAD_DIM);
    return (weights){
        .norm = add_vector(r, D_MODEL),
        .q = add_matrix(r, FORMAT_Q4_K, D_MODEL, D_MODEL),
        .k = add_matrix(r, FORMAT_Q6_K, KV_DIM, D_MODEL),
        .v = add_matrix(r, FORMAT_F16, KV_DIM, D_MODEL),
        .q_bias = add_vector(r, D_MODEL),
        .gain_q = head_norms ? add_vector(r, HEAD_DIM) : -1,
        .gain_k = head_norms ? add_vector(r, HEAD_DIM) : -1,
        .out = add_matrix(r, FORMAT_Q8_0, D_MODEL, D_MODEL),
        .ffn_norm = add_vector(r, D_MODEL),
        .gate = add_matrix(r, FORMAT_Q5_K, D_FF, D_MODEL),
        .up = add_matrix(r, FORMAT_IQ4_XS, D_FF, D_MODEL),
        .down = add_matrix(r, FORMAT_Q3_K, D_MODEL, D_FF),
        .inv_freq = add_doubles(r, HEAD_DIM / 2, inv_freq),
        .head = add_matrix(r, FORMAT_Q5_1, N_VOCAB, D_MODEL),
    };
}

static op_record *with_heads(op_record *op, int n_heads)
{
    op->n_heads = n_heads;
    op->n_kv_heads = N_KV_HEADS;
    op->head_dim = HEAD_DIM;
    op->rotary_dim = HEAD_DIM;
    op->scale = 0.125f;
    return op;
}

static int unary(recording *r, enum op op, int x, int width, int weight)
{
    int y = add_value(r, width);
    add_op_xyw(r, op, x, y, weight)->eps = 1e-5f;
    return y;
}

static int binary(recording *r, enum op op, int a, int b, int width, int weight)
{
    int y = add_value(r, width);
    add_op_xyw(r, op, a, y, weight)->inputs[1] = b;
    return y;
}

/* The op that was added last need not wait for those before it. */
static int beside(recording *r, int value)
{
    r->ops[r->n_ops - 1].barrier = 0;
    return value;
}

static int rope(recording *r, int x, int table, int n_heads)
{
    int y = binary(r, OP_rope, x, table, n_heads * HEAD_DIM, -1);
    with_heads(&r->ops[r->n_ops - 1], n_heads);
    return y;
}

static void record_plain(recording *r, const weights *w, int x)
{
    int table = add_value(r, HEAD_DIM);
    add_op_xyw(r, OP_rope_table, -1, table, w->inv_freq)->scale = 1.0f;
    int normed = unary(r, OP_rms_norm, x, D_MODEL, w->norm);
    int q = unary(r, OP_matmul, normed, D_MODEL, w->q);
    r->ops[r->n_ops - 1].weights[1] = w->q_bias;
    int k = beside(r, unary(r, OP_matmul, normed, KV_DIM, w->k));
    int v = beside(r, unary(r, OP_matmul, normed, KV_DIM, w->v));
    if (w->gain_q >= 0) {
        q = unary(r, OP_rms_norm, q, D_MODEL, w->gain_q);
        k = unary(r, OP_rms_norm, k, KV_DIM, w->gain_k);
    }
    q = rope(r, q, table, N_HEADS);
    k = rope(r, k, table, N_KV_HEADS);
    op_record *kv_write = with_heads(add_op(r, OP_kv_write), N_KV_HEADS);
    kv_write->inputs[0] = k;
    kv_write->inputs[1] = v;
    int mixed = unary(r, OP_attention, q, D_MODEL, -1);
    with_heads(&r->ops[r->n_ops - 1], N_HEADS);
    x = binary(r, OP_add, unary(r, OP_matmul, mixed, D_MODEL, w->out), x, D_MODEL, -1);
    normed = unary(r, OP_rms_norm, x, D_MODEL, w->ffn_norm);
    int gate = unary(r, OP_silu, unary(r, OP_matmul, normed, D_FF, w->gate), D_FF, -1);
    int up = beside(r, unary(r, OP_matmul, normed, D_FF, w->up));
    up = binary(r, OP_mul, gate, up, D_FF, -1);
    x = binary(r, OP_add, unary(r, OP_matmul, up, D_MODEL, w->down), x, D_MODEL, -1);
    normed = unary(r, OP_rms_norm, x, D_MODEL, w->norm);
    add_op_xyw(r, OP_matmul, normed, add_result(r, N_VOCAB), w->head);
}

static void record_fused(recording *r, const weights *w, int x)
{
    int table = add_value(r, HEAD_DIM), q = add_value(r, D_MODEL), turned = add_value(r, D_MODEL);
    int k = add_value(r, KV_DIM), v = add_value(r, KV_DIM), up = add_value(r, D_FF);
    add_op_xyw(r, OP_rope_table, -1, table, w->inv_freq)->scale = 1.0f;
    op_record *op = add_op_xyw(r, OP_norm_matmul, x, q, w->norm);
    op->eps = 1e-5f;
    op->outputs[1] = k;
    op->outputs[2] = v;
    for (int i = 1; i < RECORD_WEIGHTS; i++)
        op->weights[i] = (int[]){-1, w->q, w->q_bias, w->k, -1, w->v, -1}[i];
    op = with_heads(add_op_xyw(r, OP_rope_kv_write, q, turned, -1), N_HEADS);
    op->inputs[1] = k;
    op->inputs[2] = v;
    op->inputs[3] = table;
    op->weights[0] = w->gain_q;
    op->weights[1] = w->gain_k;
    op->eps = 1e-5f;
    int mixed = unary(r, OP_attention, turned, D_MODEL, -1);
    with_heads(&r->ops[r->n_ops - 1], N_HEADS);
    x = binary(r, OP_matmul_add, mixed, x, D_MODEL, w->out);
    op = add_op_xyw(r, OP_norm_gate_up, x, up, w->ffn_norm);
    op->eps = 1e-5f;
    op->weights[1] = w->gate;
    op->weights[3] = w->up;
    x = binary(r, OP_matmul_add, up, x, D_MODEL, w->down);
    add_op_xyw(r, OP_norm_matmul, x, add_result(r, N_VOCAB), w->norm)->eps = 1e-5f;
    r->ops[r->n_ops - 1].weights[1] = w->head;
}

/* The thread sanitizer makes arithmetic a hundred times slower, and one thread has nobody to race with. */
#if defined(__SANITIZE_THREAD__)
enum { FEWEST_THREADS = 2 };
#else
enum { FEWEST_THREADS = 1 };
#endif

static void test_a_layer(int head_norms)
{
    static const setting settings[] = {{0, 1, 0}, {0, 4, 0}, {0, 2, 1}, {0, 3, 5}};
    static const kv_shape shape = {1, N_KV_HEADS, HEAD_DIM, KV_F16};
    recording plain = {.edge = EDGE_END}, fused;
    batch b = batch_of(2, (int[]){5, 34});
    weights w = add_weights(&plain, head_norms);
    int table = add_table(&plain, FORMAT_Q5_0, b.n_tokens, D_MODEL), x = add_value(&plain, D_MODEL);
    add_op_xyw(&plain, OP_embed, -1, x, table);
    fused = plain;
    record_plain(&plain, &w, x);
    record_fused(&fused, &w, x);
    size_t bytes = (size_t)(b.n_tokens * N_VOCAB) * sizeof(float);
    float *expected = malloc(bytes), *y = malloc(bytes);
    run_recording(&plain, settings[0], shape, &b, expected);
    for (int i = 0; i < b.n_tokens * N_VOCAB; i++)
        CHECK(isfinite(expected[i]), "logit %d: %g", i, (double)expected[i]);
    for (int isa = 0; isa < cpu_isa_count(); isa++)
        for (int i = 0; cpu_isa_available(isa) && i < 8; i++) {
            setting s = settings[i / 2];
            s.isa = isa;
            if (s.n_threads < FEWEST_THREADS) continue;
            run_recording(i % 2 ? &fused : &plain, s, shape, &b, y);
            CHECK(!memcmp(y, expected, bytes),
                  "%s, %s, %d threads, chunks of %d, %d head norms: not the scalar bits",
                  i % 2 ? "fused" : "plain", cpu_isa_name(isa), s.n_threads, s.chunk, head_norms);
        }
    free(expected);
    free(y);
    batch_free(b);
    recording_free(&plain);
}

void test_layer(void)
{
    test_a_layer(0);
    test_a_layer(1);
}
