/* Attention over pages, fused and in its three parts, with f16 and f32 pages, with and without
 * RoPE: against softmax(scale q K^T) V in double, and bit for bit between instruction sets. */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "cpu/internal.h"
#include "half.h"
#include "recording.h"

enum plan { PLAN_FUSED, PLAN_PARTS, PLAN_ROPE, PLAN_ROPE_NEOX };

typedef struct {
    int n_heads, n_kv_heads, head_dim, rotary_dim, type;
    enum plan plan;
} attention_case;

static int turns(const attention_case *c) { return c->plan >= PLAN_ROPE; }
static float scale_of(const attention_case *c) { return 1.0f / sqrtf((float)c->head_dim); }
static double inv_freq(int i) { return pow(10000.0, -i / 8.0); }

static void set_heads(op_record *op, const attention_case *c)
{
    op->n_heads = c->n_heads;
    op->n_kv_heads = c->n_kv_heads;
    op->head_dim = c->head_dim;
    op->rotary_dim = c->rotary_dim;
    op->neox = c->plan == PLAN_ROPE_NEOX;
    op->scale = scale_of(c);
}

/* Writes k and v into the pages; returns the value that holds the queries. */
static int record_kv_write(recording *r, const attention_case *c, int q, int k, int v)
{
    if (!turns(c)) {
        op_record *op = add_op(r, OP_kv_write);
        op->inputs[0] = k;
        op->inputs[1] = v;
        set_heads(op, c);
        return q;
    }
    double frequencies[64];
    for (int i = 0; i < c->rotary_dim / 2; i++) frequencies[i] = inv_freq(i);
    int table = add_value(r, c->rotary_dim), turned = add_value(r, r->values[q].width);
    int weight = add_doubles(r, c->rotary_dim / 2, frequencies);
    add_op_xyw(r, OP_rope_table, -1, table, weight)->scale = 1.0f;
    op_record *op = add_op(r, OP_rope_kv_write);
    for (int i = 0; i < RECORD_INPUTS; i++) op->inputs[i] = (int[]){q, k, v, table}[i];
    op->outputs[0] = turned;
    set_heads(op, c);
    return turned;
}

static void record_attention(recording *r, const attention_case *c, int q, int capacity)
{
    if (c->plan != PLAN_PARTS) {
        set_heads(add_op_xyw(r, OP_attention, q, add_result(r, c->n_heads * c->head_dim), -1), c);
        return;
    }
    int scores = add_value(r, c->n_heads * capacity), weights = add_value(r, c->n_heads * capacity);
    set_heads(add_op_xyw(r, OP_attention_scores, q, scores, -1), c);
    set_heads(add_op_xyw(r, OP_softmax, scores, weights, -1), c);
    int result = add_result(r, c->n_heads * c->head_dim);
    set_heads(add_op_xyw(r, OP_attention_mix, weights, result, -1), c);
}

static void turn(const attention_case *c, double *x, int position)
{
    int half = c->rotary_dim / 2, neox = c->plan == PLAN_ROPE_NEOX;
    for (int i = 0; turns(c) && i < half; i++) {
        double *a = x + (neox ? i : 2 * i), *b = a + (neox ? half : 1);
        double angle = position * inv_freq(i), at = *a, bt = *b;
        *a = at * cos(angle) - bt * sin(angle);
        *b = at * sin(angle) + bt * cos(angle);
    }
}

/* A head's row in double, as the pages hold it if `stored`. */
static void head_row(const attention_case *c, const float *row, int position, int stored, double *to)
{
    for (int i = 0; i < c->head_dim; i++)
        to[i] = stored && c->type == KV_F16 ? (double)f16_to_f32(f32_to_f16(row[i])) : (double)row[i];
    if (position >= 0) turn(c, to, position);
}

/* One (token, head) in double into out [head_dim]; returns what the float32 result may differ by,
 * |q_i|, |k_i|, |v_i| being below 1: a score is a sum of head_dim products of values that RoPE
 * rounded three times, it is scaled and shifted, and its error doubles through e^x over its sum;
 * the output is a sum of n products, and each page may rescale it. */
static double exact_attention(const attention_case *c, const float *q, const float *k,
                              const float *v, int position, double *out)
{
    double query[128], row[128], scores[256], most = -INFINITY, sum = 0.0;
    size_t width = (size_t)(c->n_kv_heads * c->head_dim);
    head_row(c, q, position, 0, query);
    for (int j = 0; j <= position; j++) {
        head_row(c, k + (size_t)j * width, j, 1, row);
        scores[j] = 0.0;
        for (int i = 0; i < c->head_dim; i++) scores[j] += query[i] * row[i] * (double)scale_of(c);
        most = fmax(most, scores[j]);
    }
    memset(out, 0, (size_t)c->head_dim * sizeof *out);
    for (int j = 0; j <= position; j++) {
        double p = exp(scores[j] - most);
        head_row(c, v + (size_t)j * width, -1, 1, row);
        sum += p;
        for (int i = 0; i < c->head_dim; i++) out[i] += p * row[i];
    }
    for (int i = 0; i < c->head_dim; i++) out[i] /= sum;
    double score = (c->head_dim + 20) * c->head_dim * (double)scale_of(c);
    return (2.0 * score + 2.0 * position + 64.0) * (FLT_EPSILON / 2.0);
}

static void check_against_double(const attention_case *c, const batch *b, const float *q,
                                 const float *k, const float *v, const float *y, const char *what)
{
    double exact[128], worst = 0.0;
    int q_width = c->n_heads * c->head_dim, kv_width = c->n_kv_heads * c->head_dim;
    for (int t = 0; t < b->n_tokens; t++)
        for (int head = 0; head < c->n_heads; head++) {
            int position = b->positions[t], at = t * q_width + head * c->head_dim;
            int from = (t - position) * kv_width + head / (c->n_heads / c->n_kv_heads) * c->head_dim;
            double bound = exact_attention(c, q + at, k + from, v + from, position, exact);
            for (int i = 0; i < c->head_dim; i++)
                worst = fmax(worst, fabs((double)y[at + i] - exact[i]) / bound);
        }
    CHECK(worst <= 1.0, "%s: %g times the bound", what, worst);
}

static float *random_rows(int n_tokens, int width)
{
    float *x = malloc((size_t)(n_tokens * width) * sizeof *x);
    for (int i = 0; i < n_tokens * width; i++) x[i] = random_float();
    return x;
}

static void test_case(const attention_case *c)
{
    static const setting settings[] = {{0, 1, 0}, {0, 3, 0}, {0, 2, 1}, {0, 1, 7}};
    recording r = {.edge = EDGE_END};
    batch b = batch_of(3, (int[]){1, 33, 70});
    kv_shape shape = {1, c->n_kv_heads, c->head_dim, c->type};
    int q_width = c->n_heads * c->head_dim, kv_width = c->n_kv_heads * c->head_dim;
    float *q = random_rows(b.n_tokens, q_width), *k = random_rows(b.n_tokens, kv_width);
    float *v = random_rows(b.n_tokens, kv_width);
    size_t bytes = (size_t)(b.n_tokens * q_width) * sizeof *q;
    float *expected = malloc(bytes), *y = malloc(bytes);
    int queries = add_input(&r, b.n_tokens, q_width, q);
    int keys = add_input(&r, b.n_tokens, kv_width, k);
    int turned = record_kv_write(&r, c, queries, keys, add_input(&r, b.n_tokens, kv_width, v));
    record_attention(&r, c, turned, b.max_pages * PAGE_TOKENS);
    char what[96];
    snprintf(what, sizeof what, "attention plan %d, %d heads, %d kv, head_dim %d, %s", (int)c->plan,
             c->n_heads, c->n_kv_heads, c->head_dim, c->type == KV_F16 ? "f16" : "f32");
    run_recording(&r, settings[0], shape, &b, expected);
    check_against_double(c, &b, q, k, v, expected, what);
    for (int isa = 0; isa < cpu_isa_count(); isa++)
        for (int i = 0; cpu_isa_available(isa) && i < 4; i++) {
            setting s = settings[i];
            s.isa = isa;
            run_recording(&r, s, shape, &b, y);
            CHECK(!memcmp(y, expected, bytes), "%s: %s, %d threads, chunks of %d", what,
                  cpu_isa_name(isa), s.n_threads, s.chunk);
        }
    batch_free(b);
    recording_free(&r);
    free(q);
    free(k);
    free(v);
    free(expected);
    free(y);
}

static void test_pool_growth(void)
{
    cpu_kv *kv = cpu_kv_create(3, 2, 33, KV_F16);
    /* K: [2, 33, 32] halves, V: [2, 32, 48] halves (33 is rounded up to whole vectors), 3 layers */
    CHECK(kv && cpu_kv_page_bytes(kv) == 3 * (2 * 33 * 32 + 2 * 32 * 48) * 2, "bytes of a page");
    for (int pages = 1; kv && pages < 200; pages += 23)
        CHECK(cpu_kv_grow(kv, pages) == 0, "grow to %d pages", pages);
    cpu_kv_destroy(kv);
}

static void test_too_large_a_pool(void)
{
    static const int shapes[][3] = {
        {0, 1, 1},       {1, 0, 1},       {1, 1, 0},             {-1, -1, 1},
        {INT_MAX, INT_MAX, INT_MAX},      {1, 1 << 24, 1 << 30}, {1, 1, INT_MAX},
        {1, 1 << 13, 1 << 13},       /* 2^31 elements of a layer in a page */
        {1 << 30, 1 << 10, 1 << 15}, /* 2^67 bytes a slab of f32 */
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        cpu_kv *kv = cpu_kv_create(shapes[i][0], shapes[i][1], shapes[i][2], KV_F32);
        CHECK(!kv, "%d layers, %d heads of %d", shapes[i][0], shapes[i][1], shapes[i][2]);
        cpu_kv_destroy(kv);
    }
    /* What no machine has, but a size_t counts: refused by the system, and what was there stays. */
    cpu_kv *kv = cpu_kv_create(1 << 26, 1, 1 << 20, KV_F32);
    CHECK(kv && cpu_kv_page_bytes(kv) == (int64_t)1 << 54, "bytes of a page");
    CHECK(kv && cpu_kv_grow(kv, 1) == -1, "no memory has 2^58 bytes");
    cpu_kv_destroy(kv);
    kv = cpu_kv_create(1, 1, 1, KV_F32);
    CHECK(kv && cpu_kv_grow(kv, 1) == 0, "one slab");
    CHECK(kv && cpu_kv_grow(kv, INT_MAX) == -1, "as many pages as an int counts");
    float key, value;
    CHECK(kv && !cpu_kv_read(kv, SLAB_PAGES - 1, 0, 0, 1, &key, &value), "the slab is gone");
    CHECK(kv && cpu_kv_read(kv, SLAB_PAGES, 0, 0, 1, &key, &value), "a page that was not asked for");
    cpu_kv_destroy(kv);
}

/* Slabs above and below the size of a huge page: zeros to the last byte, and whole lines. */
static void test_slabs(int head_dim)
{
    enum { LAYERS = 4, KV_HEADS = 8 };
    const size_t n = (size_t)(PAGE_TOKENS * KV_HEADS * head_dim);
    float *keys = malloc(n * sizeof *keys), *values = malloc(n * sizeof *values);
    cpu_kv *kv = cpu_kv_create(LAYERS, KV_HEADS, head_dim, KV_F32);
    CHECK(kv && cpu_kv_grow(kv, SLAB_PAGES + 1) == 0, "two slabs");
    for (int page = 0; kv && page < 2 * SLAB_PAGES; page += SLAB_PAGES - 1) {
        CHECK((uintptr_t)kv_k(kv, page, 0) % 64 == 0, "page %d begins amid a line", page);
        CHECK(!cpu_kv_read(kv, page, LAYERS - 1, 0, PAGE_TOKENS, keys, values), "page %d", page);
        size_t i = 0;
        while (i < n && keys[i] == 0.0f && values[i] == 0.0f) i++;
        CHECK(i == n, "page %d is not zero at %zu", page, i);
    }
    cpu_kv_destroy(kv);
    free(keys);
    free(values);
}

void test_attention(void)
{
    static const attention_case cases[] = {
        {4, 4, 16, 16, KV_F32, PLAN_FUSED},  {4, 2, 64, 64, KV_F16, PLAN_FUSED},
        {3, 1, 33, 32, KV_F16, PLAN_FUSED},  {6, 2, 80, 80, KV_F32, PLAN_FUSED},
        {1, 1, 1, 0, KV_F16, PLAN_FUSED},    {4, 2, 64, 64, KV_F16, PLAN_PARTS},
        {3, 1, 33, 32, KV_F32, PLAN_PARTS},  {4, 2, 32, 32, KV_F32, PLAN_ROPE},
        {2, 1, 33, 20, KV_F32, PLAN_ROPE},   {4, 4, 32, 32, KV_F32, PLAN_ROPE_NEOX},
        {2, 2, 48, 16, KV_F32, PLAN_ROPE_NEOX},
    };
    test_pool_growth();
    test_too_large_a_pool();
    test_slabs(16);
    test_slabs(128);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) test_case(&cases[i]);
}
