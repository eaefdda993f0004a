/* What a trace says of a value that an op has just made, over n elements: a multiple of 16.
 *
 * No branch on an element: a NaN or an infinity makes `squares` one, too, and so does what is too
 * large for its square; what is too small for it leaves less than STATISTICS_SMALLEST. The caller
 * goes through such a block by itself. */
static block_statistics statistics(const float *x, int64_t n)
{
    /* 2^127 twice lifts the smallest subnormal above 1; one factor alone, or both at once, do not */
    const vf one = vf_set(1.0f), lift = vf_set(0x1p127f);
    vf total = vf_zero(), squares = vf_zero(), nonzeros = vf_zero();
    vf min = vf_load(x), max = min;
    for (int64_t i = 0; i < n; i += 16) {
        const vf v = vf_load(x + i);
        total = vf_add(total, v);
        squares = vf_fma(v, v, squares);
        min = vf_min(min, v);
        max = vf_max(max, v);
        nonzeros = vf_add(nonzeros, vf_min(vf_mul(vf_mul(vf_abs(v), lift), lift), one));
    }
    return (block_statistics){vf_sum(total), vf_sum(squares), vf_sum(nonzeros),
                              0.0f - vf_maximum(vf_sub(vf_zero(), min)), vf_maximum(max)};
}
