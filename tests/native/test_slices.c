/* Matmuls of many tokens: these are cut into slices, long rows into parts, and the units of both shared out
 * among threads, all according to how large the second-level cache is. Whatever comes of it, the bits are
 * the scalar kernels' of one token at a time.
 */
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "cpu/internal.h"
#include "recording.h"

enum { MOST_TOKENS = 256, MOST_IN = 1280, MOST_OUT = 64, MOST_MATRICES = 3 };

/* One op of n_matrices matrices, each with a bias or without; the result is that of `matrix`. */
typedef struct {
    enum op op;
    int n_tokens, n_in, n_out, n_matrices, matrix;
    enum format formats[MOST_MATRICES];
    int has_bias[MOST_MATRICES];
} product;

static int add_random(recording *r, int n)
{
    float x[MOST_IN];
    for (int i = 0; i < n; i++) x[i] = random_float();
    return add_floats(r, 1, n, x);
}

static int add_random_input(recording *r, int n_tokens, int width)
{
    float *x = malloc((size_t)n_tokens * (size_t)width * sizeof *x);
    fill_activations(x, n_tokens, width);
    const int input = add_input(r, n_tokens, width, x);
    free(x);
    return input;
}

static void record_product(recording *r, const product *p)
{
    const int is_normed = p->op == OP_norm_matmul || p->op == OP_norm_gate_up;
    const int input = add_random_input(r, p->n_tokens, p->n_in);
    const int added = p->op == OP_matmul_add ? add_random_input(r, p->n_tokens, p->n_out) : -1;
    const int gain = is_normed ? add_random(r, p->n_in) : -1;
    int outputs[MOST_MATRICES], weights[2 * MOST_MATRICES];
    const int n_outputs = p->op == OP_norm_matmul ? p->n_matrices : 1;
    for (int i = 0; i < n_outputs; i++)
        outputs[i] = i == p->matrix ? add_result(r, p->n_out) : add_value(r, p->n_out);
    for (int i = 0; i < p->n_matrices; i++) {
        weights[2 * i] = add_matrix(r, p->formats[i], p->n_out, p->n_in);
        weights[2 * i + 1] = p->has_bias[i] ? add_random(r, p->n_out) : -1;
    }
    op_record *op = add_op(r, p->op);
    op->eps = 1e-5f;
    op->inputs[0] = input;
    op->inputs[1] = added;
    if (is_normed) op->weights[0] = gain;
    memcpy(op->outputs, outputs, (size_t)n_outputs * sizeof *outputs);
    memcpy(op->weights + is_normed, weights, 2 * (size_t)p->n_matrices * sizeof *weights);
}

/* What may differ without a difference in the result: threads, tokens a step (0: all), and bytes of the
 * second-level cache. */
typedef struct {
    int n_threads, chunk;
    int64_t l2;
} trial;

static void check_product(const product *p, const trial *trials, int n_trials)
{
    static const kv_shape no_pages = {1, 1, 16, KV_F32};
    static float expected[MOST_TOKENS * MOST_OUT], y[MOST_TOKENS * MOST_OUT];
    const int64_t found = l2_bytes;
    const size_t bytes = (size_t)(p->n_tokens * p->n_out) * sizeof *y;
    recording r = {.edge = EDGE_END};
    record_product(&r, p);
    batch b = batch_of(1, &p->n_tokens);
    run_recording(&r, (setting){0, 1, 1}, no_pages, &b, expected);
    for (int isa = 0; isa < cpu_isa_count(); isa++)
        for (int i = 0; cpu_isa_available(isa) && i < n_trials; i++) {
            l2_bytes = trials[i].l2;
            run_recording(&r, (setting){isa, trials[i].n_threads, trials[i].chunk}, no_pages, &b, y);
            CHECK(!memcmp(y, expected, bytes),
                  "op %d, formats %d %d %d, [%d, %d] times %d tokens, matrix %d; %s, %d threads, "
                  "chunks of %d, a cache of %lld bytes: not the scalar bits",
                  (int)p->op, (int)p->formats[0], (int)p->formats[1], (int)p->formats[2], p->n_out,
                  p->n_in, p->n_tokens, p->matrix, cpu_isa_name(isa), trials[i].n_threads,
                  trials[i].chunk, (long long)trials[i].l2);
        }
    l2_bytes = found;
    batch_free(b);
    recording_free(&r);
}

static void check_random_product(void)
{
    static const enum op ops[] = {OP_matmul, OP_matmul_add, OP_norm_matmul, OP_norm_gate_up};
    int count, block = 1;
    const format_info *formats = format_table(&count);
    product p = {.op = ops[random_below(4)], .n_matrices = 1};
    if (p.op == OP_norm_matmul) p.n_matrices += random_below(MOST_MATRICES);
    if (p.op == OP_norm_gate_up) p.n_matrices = 2;
    if (p.op == OP_norm_matmul) p.matrix = random_below(p.n_matrices);
    for (int i = 0; i < p.n_matrices; i++) {
        p.formats[i] = (enum format)random_below(count);
        p.has_bias[i] = random_below(2);
        if (formats[p.formats[i]].block_weights > block) block = formats[p.formats[i]].block_weights;
    }
    /* often a little more than what tiles and slices are made of */
    p.n_tokens = random_below(3) ? 12 * random_below(21) + 1 + random_below(4) : 1 + random_below(MOST_TOKENS);
    p.n_in = block * (1 + random_below(MOST_IN / block));
    p.n_out = 1 + random_below(MOST_OUT - GROUP_ROWS);
    /* the guard page lies beside packed matrices of whole lines, as an even number of blocks are */
    if ((p.n_out + GROUP_ROWS - 1) / GROUP_ROWS * (p.n_in / block) % 2) p.n_out += GROUP_ROWS;
    const trial all = {1 + random_below(3), 0, (int64_t)1 << random_below(22)};
    const trial some = {1 + random_below(3), 1 + random_below(p.n_tokens), (int64_t)1 << random_below(22)};
    check_product(&p, (trial[]){all, some}, 2);
}

/* Three slices of which the last has three tokens, and rows in four parts: every op, and formats whose
 * activations are quantised in blocks of 256 and of 32, and not at all. */
static void check_three_tokens_left(void)
{
    static const enum op ops[] = {OP_matmul_add, OP_norm_matmul, OP_norm_gate_up};
    static const enum format formats[] = {FORMAT_Q4_K, FORMAT_Q8_0, FORMAT_F16};
    for (int i = 0; i < 9; i++) {
        const enum format f = formats[i / 3];
        const product p = {ops[i % 3], 147, 1280, 37, ops[i % 3] == OP_norm_gate_up ? 2 : 1, 0,
                           {f, f}, {ops[i % 3] == OP_matmul_add}};
        check_product(&p, (trial[]){{1, 0, 1}, {2, 0, 1}, {3, 0, 1}}, 3);
    }
}

void test_slices(void)
{
    check_three_tokens_left();
    for (int i = 0; i < 40; i++) check_random_product();
}

void test_many_products(void)
{
    for (int i = 0; i < 1000; i++) check_random_product();
}
