/* Groups of 256 weights, the unit of work: one block of a K-quant, or eight blocks of 32. */
#ifndef SMELT_QUANTISE_GROUP_H
#define SMELT_QUANTISE_GROUP_H

#include "../formats/formats.h"
#include "fit.h"

enum { GROUP = 256, MAX_QUADS = GROUP / 16 / LANES };

#define LARGEST_HALF 65504.0f
#define SMALLEST_HALF 0x1p-24f

static inline float nearest_half(float value)
{
    return f16_to_f32(f32_to_f16(fminf(fmaxf(value, -LARGEST_HALF), LARGEST_HALF)));
}

/* A scale as a half. One that would vanish becomes the smallest half: what it multiplies can still
 * be a great integer. */
static inline float half_scale(float scale)
{
    const float half = nearest_half(scale);
    return half == 0.0f && scale != 0.0f ? copysignf(SMALLEST_HALF, scale) : half;
}

/* Spreads a group over quads of sub-blocks, and returns their number.
 * x: [GROUP]; quads: [MAX_QUADS] */
static inline int load_group(const level_traits *t, const float *x, sub_blocks *quads)
{
    const int n_quads = GROUP / t->sub_block / LANES;

    for (int q = 0; q < n_quads; q++, x += LANES * t->sub_block) {
        sub_blocks *s = &quads[q];
        lanes sum_xx = {0};
        for (int i = 0; i < t->sub_block; i++) {
            for (int k = 0; k < LANES; k++)
                s->x[i][k] = x[k * t->sub_block + i];
            sum_xx += s->x[i] * s->x[i];
        }
        const lanes even = t->evenness * square_root(sum_xx / (float)t->sub_block);
        s->sum_w = s->sum_wx = splat(0.0f);
        for (int i = 0; i < t->sub_block; i++) {
            s->w[i] = even + magnitude(s->x[i]);
            s->sum_w += s->w[i];
            s->sum_wx += s->w[i] * s->x[i];
        }
    }
    return n_quads;
}

/* The codes of four sub-blocks for their final scales and offsets.
 * codes: [LANES, sub_block] */
static inline void write_codes(const level_traits *t, const sub_blocks *s, lanes scale, lanes offset,
                               uint8_t *codes)
{
    const lanes inverse = quotient(splat(1.0f), scale);

    for (int i = 0; i < t->sub_block; i++) {
        const lanes level = nearest_levels(t, s->x[i], inverse, offset);
        for (int k = 0; k < LANES; k++)
            codes[k * t->sub_block + i] = (uint8_t)((int)level[k] + t->code_offset);
    }
}

/* A group as eight blocks of 32: f [GROUP / 32]. */
void quantise_small_blocks(const level_traits *t, const float *x, block_fields *f);

/* A group as one block of 256: f [1]. */
void quantise_super_block(const level_traits *t, const float *x, block_fields *f);

#endif
