/* Four sub-blocks side by side: lane k of vector i is weight i of sub-block k.
 *
 * The order of every addition is written in the code: the same bits from every compiler. The vector types are those of gcc and clang, which lower them to SSE2,
 * NEON or scalars.
 */
#ifndef SMELT_QUANTISE_LANES_H
#define SMELT_QUANTISE_LANES_H

#include <math.h>
#include <stdint.h>

enum { LANES = 4 };
typedef float lanes __attribute__((vector_size(16)));
typedef int32_t lane_mask __attribute__((vector_size(16))); /* 0 or -1, as comparisons give it */

static inline lanes splat(float value)
{
    return (lanes){value, value, value, value};
}

static inline lanes select_lanes(lane_mask mask, lanes yes, lanes no)
{
    return (lanes)((mask & (lane_mask)yes) | (~mask & (lane_mask)no));
}

static inline lanes smaller(lanes a, lanes b)
{
    return select_lanes(a < b, a, b);
}

static inline lanes larger(lanes a, lanes b)
{
    return select_lanes(a > b, a, b);
}

static inline lanes bounded(lanes a, int lowest, int highest)
{
    return smaller(larger(a, splat((float)lowest)), splat((float)highest));
}

static inline lanes magnitude(lanes a)
{
    return (lanes)((lane_mask)a & INT32_MAX);
}

static inline lanes square_root(lanes a)
{
    for (int k = 0; k < LANES; k++)
        a[k] = sqrtf(a[k]);
    return a;
}

static inline float total(lanes a)
{
    return a[0] + a[1] + a[2] + a[3];
}

/* a / b, and 0 where b is 0. */
static inline lanes quotient(lanes a, lanes b)
{
    const lane_mask zero = b == 0.0f;
    return select_lanes(zero, splat(0.0f), a / select_lanes(zero, splat(1.0f), b));
}

/* To the nearest integer, ties to even, for magnitudes below 2^22: floats from 2^23 to 2^24 are 1
 * apart, so the sum rounds. */
static inline lanes nearest(lanes a)
{
    return a + 0x1.8p23f - 0x1.8p23f;
}

#endif
