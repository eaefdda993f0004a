/* The search that all quantisers share: levels, and the scale and offset that go with them.
 *
 * A sub-block of weights x becomes scale level + offset, with integer levels from `lowest` to
 * `highest`. For given levels, least squares gives the best scale and offset; for a given scale and
 * offset, the nearest levels are the best. Which levels to begin with is searched over a grid of
 * scales around the one that makes the range of x the range of the levels. The idea is that of
 * make_qx_quants and make_qkx2_quants in ggml's ggml-quants.c; weighting, grid and steps differ.
 */
#ifndef SMELT_QUANTISE_FIT_H
#define SMELT_QUANTISE_FIT_H

#include "lanes.h"

typedef struct {
    int block;       /* weights a block: 32 or 256 */
    int sub_block;   /* weights that share a scale: 16 or 32 */
    int code_offset; /* code = level + code_offset */
    int lowest;      /* level: 0, or -(highest + 1) where zero is in the middle */
    int highest;
    int mins;        /* NO_MINS, MINS_SUBTRACTED or MIN_ADDED */
    int scale_bits;  /* of a sub-block's integer scale, and of its minimum; 0 in blocks of 32 */
    float evenness;  /* see sub_blocks.w */
} level_traits;

/* Four sub-blocks. A weight's squared error counts `w` = evenness rms + |x|, with the sub-block's
 * root mean square: the large weights shall be right, but not they alone. */
typedef struct {
    lanes x[32]; /* [sub_block] */
    lanes w[32];
    lanes sum_w, sum_wx;
} sub_blocks;

typedef struct {
    lanes levels, squares, products; /* sums of w l, w l², w l x */
} level_sums;

typedef struct {
    lanes scale, offset;
} lane_fit;

/* The levels nearest to x for an offset and a scale, the latter as its inverse. */
static inline lanes nearest_levels(const level_traits *t, lanes x, lanes inverse, lanes offset)
{
    return nearest(bounded((x - offset) * inverse, t->lowest, t->highest));
}

static inline level_sums sum_levels(const level_traits *t, const sub_blocks *s, lanes inverse,
                                    lanes offset)
{
    level_sums sums = {{0}, {0}, {0}};

    for (int i = 0; i < t->sub_block; i++) {
        const lanes level = nearest_levels(t, s->x[i], inverse, offset);
        const lanes weighted = s->w[i] * level;
        sums.levels += weighted;
        sums.squares += weighted * level;
        sums.products += weighted * s->x[i];
    }
    return sums;
}

/* The weighted squared error of the nearest levels. */
static inline lanes sum_errors(const level_traits *t, const sub_blocks *s, lanes scale, lanes offset)
{
    const lanes inverse = quotient(splat(1.0f), scale);
    lanes errors = {0};

    for (int i = 0; i < t->sub_block; i++) {
        const lanes level = nearest_levels(t, s->x[i], inverse, offset);
        const lanes error = s->x[i] - (scale * level + offset);
        errors += s->w[i] * error * error;
    }
    return errors;
}

/* Real scales and offsets of four sub-blocks. */
lane_fit fit_sub_blocks(const level_traits *t, const sub_blocks *s);

#endif
