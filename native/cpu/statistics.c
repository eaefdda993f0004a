/* Statistics of values of any length: blocks by the kernels of an instruction set, and one by one
 * what they leave. */
#include <math.h>

#include "cpu/isa/isa.h"

enum { BLOCK = 1024 }; /* at most: a sum of float32 then has 64 terms a lane */

/* Bounds of a block's squares in float32 inside which nothing was lost to underflow or overflow,
 * and in which there was neither a NaN nor an infinity. */
static const float SMALLEST = 1e-24f, LARGEST = 1e38f;

static void one_by_one(const cpu_rows *rows, int64_t from, int64_t to, cpu_statistics *s)
{
    for (int64_t i = from; i < to; i++) {
        const double v = rows->is_double ? ((const double *)rows->data)[i]
                                         : ((const float *)rows->data)[i];
        if (!isfinite(v)) {
            *(isnan(v) ? &s->n_nan : &s->n_inf) += 1;
            if (s->bad_row < 0) {
                s->bad_row = rows->first_row + i / rows->width;
                s->bad_element = i % rows->width;
            }
            continue;
        }
        s->total += v;
        s->squares += v * v;
        s->min = v < s->min ? v : s->min;
        s->max = v > s->max ? v : s->max;
        s->n_zeros += v == 0;
    }
}

static void add(const kernel_table *kernels, const cpu_rows *rows, cpu_statistics *s)
{
    const int64_t count = rows->n_rows * rows->width;
    const int64_t whole = rows->is_double ? 0 : count / 16 * 16;
    for (int64_t at = 0, n; at < whole; at += n) {
        n = whole - at < BLOCK ? whole - at : BLOCK;
        const block_statistics b = kernels->statistics((const float *)rows->data + at, n);
        if (!(b.squares > SMALLEST && b.squares < LARGEST)) {
            one_by_one(rows, at, at + n, s);
            continue;
        }
        s->total += b.total;
        s->squares += b.squares;
        s->min = b.min < s->min ? b.min : s->min;
        s->max = b.max > s->max ? b.max : s->max;
        s->n_zeros += n - (int64_t)b.nonzeros;
    }
    one_by_one(rows, whole, count, s);
    s->count += count;
}

void cpu_add_statistics(int isa, const cpu_rows *rows, int n, cpu_statistics *statistics)
{
    int n_sets;
    const kernel_table *kernels = instruction_sets(&n_sets)[isa].kernels;
    for (int i = 0; i < n; i++) add(kernels, &rows[i], &statistics[rows[i].value]);
}
