/* matmul: every format on every instruction set, for one token and many, beside guard pages.
 *
 * The scalar kernels are held against a sum in double over the format's own decoder, and every
 * other instruction set, number of threads and number of tokens against the scalar bits.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "recording.h"

enum { MOST_TOKENS = 33 };
static const kv_shape no_pages = {1, 1, 16, KV_F32};

/* One row of activations as docs/design.md has them rounded: blocks of d * q, |q| <= 2047. */
static void round_activations(const float *x, int n_in, int block, double *rounded)
{
    for (int b = 0; b < n_in; b += block) {
        float most = 0.0f;
        for (int i = b; i < b + block; i++) most = fmaxf(most, fabsf(x[i]));
        const float inverse = most > 0.0f ? 2047 / most : 0.0f, d = most / 2047;
        for (int i = b; i < b + block; i++) {
            rounded[i] = block == 1 ? (double)x[i] : (double)d * (double)rintf(x[i] * inverse);
            CHECK(fabs(rounded[i] - (double)x[i]) <= 0.501 * (double)d || block == 1,
                  "%g is rounded to %g", (double)x[i], rounded[i]);
        }
    }
}

/* How large the parts of a weight may be, for each 16 of a row: scale * code and min cancel each
 * other, so their roundings may exceed those of the weight. Sixteen random codes span at least a
 * quarter of their range, hence |scale * code| <= 4 range, and |min| that much more than |w|. */
static double part_size(const float *w, int n)
{
    float low = w[0], high = w[0];
    for (int i = 1; i < n; i++) {
        low = fminf(low, w[i]);
        high = fmaxf(high, w[i]);
    }
    return fmax(fabs((double)low), fabs((double)high)) + 8.0 * ((double)high - (double)low);
}

/* One row times one token in double, and what float32 sums may differ from it by: a block's dot
 * product is exact, then come at most two fused additions a block; decoding rounds three times. */
static double exact_dot(const float *w, const double *x, int n_in, int block, double *bound)
{
    double sum = 0.0, size = 0.0;
    for (int k = 0; k < n_in; k++) sum += (double)w[k] * x[k];
    if (block == 1) {
        for (int k = 0; k < n_in; k++) size += fabs((double)w[k] * x[k]);
        *bound = (n_in / 16 + 8) * (FLT_EPSILON / 2.0) * size;
        return sum;
    }
    for (int k = 0; k < n_in; k += 16) {
        double part = part_size(w + k, 16);
        for (int i = k; i < k + 16; i++) size += part * fabs(x[i]);
    }
    *bound = (2 * (n_in / block) + 8) * (FLT_EPSILON / 2.0) * size;
    return sum;
}

static void check_against_double(const recording *r, int block, const float *x, const float *y,
                                 int n_tokens, const char *what)
{
    const weight_record *w = &r->weights[r->n_weights - 1];
    float *rows = decode_last(r);
    double *rounded = malloc((size_t)w->n_in * sizeof *rounded), worst = 0.0;
    for (int t = 0; t < n_tokens; t++) {
        round_activations(x + t * w->n_in, w->n_in, block, rounded);
        for (int i = 0; i < w->n_out; i++) {
            double bound, exact = exact_dot(rows + i * w->n_in, rounded, w->n_in, block, &bound);
            double error = fabs((double)y[t * w->n_out + i] - exact);
            worst = fmax(worst, bound > 0.0 ? error / bound : error);
        }
    }
    CHECK(worst <= 1.0, "%s: %g times the bound", what, worst);
    free(rounded);
    free(rows);
}

/* Every instruction set, chunk and number of threads gives `expected`, bit for bit. */
static void check_settings(const recording *r, const batch *b, const float *expected,
                           const char *what)
{
    static const setting settings[] = {{0, 1, 0}, {0, 3, 0}, {0, 1, 1}, {0, 2, 1},
                                       {0, 1, 2}, {0, 1, 6}, {0, 2, 7}, {0, 1, 13}};
    size_t n = (size_t)b->n_tokens * (size_t)r->result_width;
    float *y = malloc(n * sizeof *y);
    for (int isa = 0; isa < cpu_isa_count(); isa++)
        for (size_t i = 0; cpu_isa_available(isa) && i < sizeof settings / sizeof *settings; i++) {
            setting s = settings[i];
            s.isa = isa;
            run_recording(r, s, no_pages, b, y);
            CHECK(!memcmp(y, expected, n * sizeof *y),
                  "%s: %s, %d threads, chunks of %d: not the scalar bits", what, cpu_isa_name(isa),
                  s.n_threads, s.chunk);
        }
    free(y);
}

static void test_shape(const format_info *format, int number, int n_out, int n_in, enum edge edge)
{
    recording r = {.edge = edge};
    float *x = malloc((size_t)(MOST_TOKENS * n_in) * sizeof *x);
    float *y = malloc((size_t)(MOST_TOKENS * n_out) * sizeof *y);
    fill_activations(x, MOST_TOKENS, n_in);
    int input = add_input(&r, MOST_TOKENS, n_in, x);
    int weight = add_matrix(&r, (enum format)number, n_out, n_in);
    add_op_xyw(&r, OP_matmul, input, add_result(&r, n_out), weight);
    batch b = batch_of(1, (int[]){MOST_TOKENS});
    run_recording(&r, (setting){0, 1, 0}, no_pages, &b, y);
    char what[64];
    snprintf(what, sizeof what, "matmul_%s [%d, %d]", format->name, n_out, n_in);
    check_against_double(&r, format->block_weights, x, y, MOST_TOKENS, what);
    check_settings(&r, &b, y, what);
    batch_free(b);
    recording_free(&r);
    free(x);
    free(y);
}

/* A NaN or an infinity reaches its own token's results and no other's; an activation too small to
 * be scaled to 2047 in float32 gives results as small. */
static void test_odd_activations(const format_info *format, int number)
{
    enum { TOKENS = 8, N_IN = 512, N_OUT = 5 };
    recording r = {.edge = EDGE_END};
    float x[TOKENS][N_IN], y[TOKENS][N_OUT];
    for (int t = 0; t < TOKENS; t++)
        for (int i = 0; i < N_IN; i++) x[t][i] = random_float() * (t == 5 ? 1e-38f : 1.0f);
    x[1][7] = NAN;
    x[1][8] = NAN;
    x[3][200] = -INFINITY;
    int input = add_input(&r, TOKENS, N_IN, x[0]);
    add_op_xyw(&r, OP_matmul, input, add_result(&r, N_OUT),
               add_matrix(&r, (enum format)number, N_OUT, N_IN));
    batch b = batch_of(1, (int[]){TOKENS});
    for (int isa = 0; isa < cpu_isa_count(); isa++)
        for (int chunk = 0; cpu_isa_available(isa) && chunk < 3; chunk++) {
            run_recording(&r, (setting){isa, 1, chunk}, no_pages, &b, y[0]);
            for (int t = 0; t < TOKENS; t++)
                for (int i = 0; i < N_OUT; i++)
                    CHECK(!isfinite(y[t][i]) == (t == 1 || t == 3)
                              && (t != 5 || fabsf(y[t][i]) < N_IN * 1e-38f),
                          "matmul_%s, %s, chunk %d, token %d: %g", format->name, cpu_isa_name(isa),
                          chunk, t, (double)y[t][i]);
        }
    batch_free(b);
    recording_free(&r);
}

void test_matmul(void)
{
    static const int float_sizes[] = {1, 31, 33, 256}, blocks[] = {2, 3};
    int count;
    const format_info *formats = format_table(&count);
    for (int f = 0; f < count; f++) {
        if (formats[f].block_weights == 1)
            for (int i = 0; i < 4; i++)
                test_shape(&formats[f], f, i % 2 ? 17 : 5, float_sizes[i], (enum edge)(i % 2));
        else
            for (int i = 0; i < 2; i++)
                test_shape(&formats[f], f, i % 2 ? 17 : 1, blocks[i] * formats[f].block_weights,
                           (enum edge)(i % 2));
        test_odd_activations(&formats[f], f);
    }
}
