/* The search over scales and offsets: see fit.h. */
#include "fit.h"

#include "../formats/formats.h"

/* The grid, in levels: the range of x is stretched over up to one level more or fewer than there
 * are. Finer steps were measured to gain less than 0.1 % of the error. */
enum { GRID_STEPS = 5, POLISHING_ROUNDS = 2 };
static const float GRID_STEP = 0.2f;

/* With four levels, the offset matters as much as the scale: it is tried nearer to zero as well. */
enum { FEW_LEVELS = 4, OFFSETS_OF_FEW_LEVELS = 4 };
static const float OFFSET_STEP = 0.1f;

/* Levels that are nearly all the same leave a determinant that is only rounding errors: those are
 * about 1e-6 of its terms. */
static const float SMALLEST_DETERMINANT = 1e-5f;

typedef struct {
    lane_fit fit;
    lanes gain; /* by how much the fit lowers the sum of w x² */
} candidate;

static void keep_better(candidate *best, lane_fit fit, lanes gain)
{
    const lane_mask better = gain > best->gain;

    best->fit.scale = select_lanes(better, fit.scale, best->fit.scale);
    best->fit.offset = select_lanes(better, fit.offset, best->fit.offset);
    best->gain = select_lanes(better, gain, best->gain);
}

/* Takes the best scale and offset for the levels that an inverse scale and an offset give. */
static void try_levels(const level_traits *t, const sub_blocks *s, lanes inverse, lanes offset,
                       candidate *best)
{
    const level_sums sums = sum_levels(t, s, inverse, offset);
    lane_fit fit = {quotient(sums.products, sums.squares), splat(0.0f)};

    if (t->mins != NO_MINS) {
        const lanes terms = s->sum_w * sums.squares;
        const lanes determinant = terms - sums.levels * sums.levels;
        const lanes scale = s->sum_w * sums.products - s->sum_wx * sums.levels;
        const lanes zero_level = sums.squares * s->sum_wx - sums.levels * sums.products;
        lane_mask sound = determinant > SMALLEST_DETERMINANT * terms;
        if (t->mins == MINS_SUBTRACTED)
            sound &= zero_level <= 0.0f;
        fit.scale = select_lanes(sound, quotient(scale, determinant), fit.scale);
        fit.offset = select_lanes(sound, quotient(zero_level, determinant), fit.offset);
    }
    keep_better(best, fit, fit.scale * sums.products + fit.offset * s->sum_wx);
}

/* The scale alone: the weight of the greatest magnitude comes to the lowest level, or, with the
 * other sign of the scale, to the highest. */
static void search_scales(const level_traits *t, const sub_blocks *s, lanes low, lanes high,
                          candidate *best)
{
    const lanes peak = select_lanes(high > -low, high, low);

    for (int step = -GRID_STEPS; step <= GRID_STEPS; step++) {
        const float extra = GRID_STEP * (float)step;
        const lanes down = splat((float)t->lowest - extra), up = splat((float)t->highest + extra);
        try_levels(t, s, quotient(down, peak), splat(0.0f), best);
        try_levels(t, s, quotient(up, peak), splat(0.0f), best);
    }
}

static void search_scales_and_offsets(const level_traits *t, const sub_blocks *s, lanes low,
                                      lanes high, candidate *best)
{
    const int n_offsets = t->highest < FEW_LEVELS ? OFFSETS_OF_FEW_LEVELS : 1;

    best->fit.offset = quotient(s->sum_wx, s->sum_w); /* constant weights have no scale */
    if (t->mins == MINS_SUBTRACTED) {
        low = smaller(low, splat(0.0f));
        best->fit.offset = smaller(best->fit.offset, splat(0.0f));
    }
    best->gain = best->fit.offset * s->sum_wx;
    for (int nearer = 0; nearer < n_offsets; nearer++)
        for (int step = -GRID_STEPS; step <= GRID_STEPS; step++) {
            const lanes levels = splat((float)t->highest + GRID_STEP * (float)step);
            try_levels(t, s, quotient(levels, high - low),
                       low * (1.0f - OFFSET_STEP * (float)nearer), best);
        }
}

lane_fit fit_sub_blocks(const level_traits *t, const sub_blocks *s)
{
    candidate best = {{{0}, {0}}, {0}};
    lanes low = s->x[0], high = s->x[0];

    for (int i = 1; i < t->sub_block; i++) {
        low = smaller(low, s->x[i]);
        high = larger(high, s->x[i]);
    }
    if (t->mins == NO_MINS)
        search_scales(t, s, low, high, &best);
    else
        search_scales_and_offsets(t, s, low, high, &best);
    for (int round = 0; round < POLISHING_ROUNDS; round++)
        try_levels(t, s, quotient(splat(1.0f), best.fit.scale), best.fit.offset, &best);
    return best.fit;
}
