/* Q8_0, Q4_0, Q4_1, Q5_0, Q5_1: blocks of 32 weights, each with a half scale and perhaps an offset. */
#include "group.h"

/* Rounds scale and offset to halves. What rounding moves the scale, the offset makes good. */
static lane_fit round_fit(const level_traits *t, const sub_blocks *s, lane_fit fit)
{
    for (int k = 0; k < LANES; k++)
        fit.scale[k] = half_scale(fit.scale[k]);
    if (t->mins == MIN_ADDED) {
        const lanes inverse = quotient(splat(1.0f), fit.scale);
        const level_sums sums = sum_levels(t, s, inverse, fit.offset);
        fit.offset = quotient(s->sum_wx - fit.scale * sums.levels, s->sum_w);
        for (int k = 0; k < LANES; k++)
            fit.offset[k] = nearest_half(fit.offset[k]);
    }
    return fit;
}

void quantise_small_blocks(const level_traits *t, const float *x, block_fields *f)
{
    sub_blocks quads[MAX_QUADS];
    const int n_quads = load_group(t, x, quads);

    for (int q = 0; q < n_quads; q++, f += LANES) {
        const lane_fit fit = round_fit(t, &quads[q], fit_sub_blocks(t, &quads[q]));
        uint8_t codes[LANES][32];
        write_codes(t, &quads[q], fit.scale, fit.offset, codes[0]);
        for (int k = 0; k < LANES; k++) {
            memcpy(f[k].codes, codes[k], 32);
            f[k].d = f32_to_f16(fit.scale[k]);
            f[k].m = f32_to_f16(fit.offset[k]);
        }
    }
}
