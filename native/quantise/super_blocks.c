/* Q2_K to Q6_K: blocks of 256 weights, whose sub-blocks have integer scales and minima.
 *
 * A real scale and offset is fitted to every sub-block; `d` and `dmin` are the units in which these
 * become integers. Then two steps take turns, each of which can only lower the error: every
 * sub-block looks for better integers beside its own, and least squares over the whole block
 * finds better units for the levels that result.
 */
#include "group.h"

enum { ROUNDS = 4 };

typedef struct {
    const level_traits *t;
    int scale_lowest, scale_highest, min_highest; /* of the integers */
    int n_quads;
    sub_blocks quads[MAX_QUADS];
    float d, m;                               /* halves */
    lanes scales[MAX_QUADS], mins[MAX_QUADS]; /* integers */
} super_block;

/* The unit of integers from `lowest` to `highest` that stand best for `values`, whose squared
 * errors count `w`. The grid gives the greatest value from the full range down to two thirds. */
static float fit_unit(const lanes *values, const lanes *w, int n_quads, int lowest, int highest)
{
    float peak = 0.0f, best = 0.0f, best_gain = 0.0f;

    for (int q = 0; q < n_quads; q++)
        for (int k = 0; k < LANES; k++)
            if (fabsf(values[q][k]) > fabsf(peak))
                peak = values[q][k];
    if (peak == 0.0f)
        return 0.0f;
    for (int step = -5; step <= 15; step++) {
        const float reach = (float)(lowest < 0 ? lowest : highest) * (1.0f - 0.02f * (float)step);
        lanes squares = {0}, products = {0};
        for (int q = 0; q < n_quads; q++) {
            const lanes integer = nearest(bounded(values[q] * (reach / peak), lowest, highest));
            squares += w[q] * integer * integer;
            products += w[q] * integer * values[q];
        }
        const float square = total(squares), product = total(products);
        if (square > 0.0f && product * product > best_gain * square) {
            best_gain = product * product / square;
            best = product / square;
        }
    }
    return best;
}

static lanes sub_block_errors(const super_block *b, int q, float d, float m, lanes scale, lanes min)
{
    return sum_errors(b->t, &b->quads[q], d * scale, -(m * min));
}

/* Units and integers from the real fits. */
static void start(super_block *b)
{
    lanes scales[MAX_QUADS], mins[MAX_QUADS], scale_w[MAX_QUADS], min_w[MAX_QUADS];

    for (int q = 0; q < b->n_quads; q++) {
        const sub_blocks *s = &b->quads[q];
        const lane_fit fit = fit_sub_blocks(b->t, s);
        scales[q] = fit.scale;
        mins[q] = -fit.offset;
        scale_w[q] = sum_levels(b->t, s, quotient(splat(1.0f), fit.scale), fit.offset).squares;
        min_w[q] = s->sum_w;
    }
    b->d = half_scale(fit_unit(scales, scale_w, b->n_quads, b->scale_lowest, b->scale_highest));
    b->m = half_scale(fit_unit(mins, min_w, b->n_quads, 0, b->min_highest));
    for (int q = 0; q < b->n_quads; q++) {
        const lanes scale = quotient(scales[q], splat(b->d)), min = quotient(mins[q], splat(b->m));
        b->scales[q] = nearest(bounded(scale, b->scale_lowest, b->scale_highest));
        b->mins[q] = nearest(bounded(min, 0, b->min_highest));
    }
}

/* Moves the scales and minima of four sub-blocks by up to one where that is better. */
static void improve_integers(super_block *b, int q)
{
    const lanes scale = b->scales[q], min = b->mins[q];
    const int reach = b->min_highest > 0;
    lanes best = sub_block_errors(b, q, b->d, b->m, scale, min);

    for (int up = -1; up <= 1; up++)
        for (int down = -reach; down <= reach; down++) {
            const lanes other = bounded(scale + (float)up, b->scale_lowest, b->scale_highest);
            const lanes other_min = bounded(min + (float)down, 0, b->min_highest);
            const lanes error = sub_block_errors(b, q, b->d, b->m, other, other_min);
            const lane_mask better = error < best;
            best = select_lanes(better, error, best);
            b->scales[q] = select_lanes(better, other, b->scales[q]);
            b->mins[q] = select_lanes(better, other_min, b->mins[q]);
        }
}

/* Least squares for d and m in  x = d (scale level) - m min,  over the whole block. */
static void fit_units(const super_block *b, float *d, float *m)
{
    lanes ss = {0}, sm = {0}, mm = {0}, xs = {0}, xm = {0};

    for (int q = 0; q < b->n_quads; q++) {
        const sub_blocks *s = &b->quads[q];
        const lanes scale = b->scales[q], min = b->mins[q];
        const level_sums sums =
            sum_levels(b->t, s, quotient(splat(1.0f), b->d * scale), -(b->m * min));
        ss += scale * scale * sums.squares;
        sm -= scale * min * sums.levels;
        mm += min * min * s->sum_w;
        xs += scale * sums.products;
        xm -= min * s->sum_wx;
    }
    const double a = total(ss), c = total(sm), e = total(mm), p = total(xs), r = total(xm);
    const double determinant = a * e - c * c;
    if (determinant > 1e-6 * a * e) { /* what the sums' own rounding leaves; never without minima */
        *d = half_scale((float)((p * e - r * c) / determinant));
        *m = half_scale((float)((r * a - p * c) / determinant));
    } else if (a > 0.0) {
        *d = half_scale((float)((p - c * *m) / a));
    }
}

/* Whether better units were found. */
static int improve_units(super_block *b)
{
    float d = b->d, m = b->m;
    lanes before = {0}, after = {0};

    fit_units(b, &d, &m);
    if (b->min_highest > 0 && (d < 0.0f || m < 0.0f))
        return 0;
    for (int q = 0; q < b->n_quads; q++) {
        before += sub_block_errors(b, q, b->d, b->m, b->scales[q], b->mins[q]);
        after += sub_block_errors(b, q, d, m, b->scales[q], b->mins[q]);
    }
    if (!(total(after) < total(before)))
        return 0;
    b->d = d;
    b->m = m;
    return 1;
}

void quantise_super_block(const level_traits *t, const float *x, block_fields *f)
{
    const int range = 1 << t->scale_bits, is_signed = t->mins == NO_MINS;
    super_block b = {
        .t = t,
        .scale_lowest = is_signed ? -range / 2 : 0,
        .scale_highest = is_signed ? range / 2 - 1 : range - 1,
        .min_highest = is_signed ? 0 : range - 1,
    };

    b.n_quads = load_group(t, x, b.quads);
    start(&b);
    for (int round = 0; round < ROUNDS; round++) {
        for (int q = 0; q < b.n_quads; q++)
            improve_integers(&b, q);
        if (!improve_units(&b))
            break;
    }
    f->d = f32_to_f16(b.d);
    f->m = f32_to_f16(b.m);
    for (int q = 0; q < b.n_quads; q++) {
        const int first = q * LANES;
        write_codes(t, &b.quads[q], b.d * b.scales[q], -(b.m * b.mins[q]),
                    f->codes + first * t->sub_block);
        for (int k = 0; k < LANES; k++) {
            f->scales[first + k] = (int8_t)b.scales[q][k];
            f->mins[first + k] = (uint8_t)b.mins[q][k];
        }
    }
}
