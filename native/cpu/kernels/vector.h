/* Small vector functions that several ops use, in terms of the v_ primitives. */

V_INLINE vf vf_load_part(const float *p, int n) /* the first n < 16 lanes, zero above */
{
    float lanes[16] = {0};
    for (int i = 0; i < n; i++) lanes[i] = p[i];
    return vf_load(lanes);
}

/* e^x to 2 units in the last place for -87.3 <= x <= 88, and its value at the nearer end outside.
 * Split x = n ln 2 + r with |r| <= ln 2 / 2 (the constant in two parts, after Cody and Waite), and
 * Taylor's polynomial of degree 7 for e^r. A NaN stays one: vf_min and vf_max return their second
 * operand where one is NaN. */
V_INLINE vf vf_exp(vf x)
{
    vf clamped = vf_max(vf_set(-87.3f), vf_min(vf_set(88.0f), x));
    vf n = vf_round(vf_mul(clamped, vf_set(1.44269504f)));
    vf r = vf_fma(n, vf_set(-0.693359375f), clamped);
    r = vf_fma(n, vf_set(2.12194440e-4f), r);
    vf p = vf_set(1.0f / 5040.0f);
    p = vf_fma(p, r, vf_set(1.0f / 720.0f));
    p = vf_fma(p, r, vf_set(1.0f / 120.0f));
    p = vf_fma(p, r, vf_set(1.0f / 24.0f));
    p = vf_fma(p, r, vf_set(1.0f / 6.0f));
    p = vf_fma(p, r, vf_set(0.5f));
    p = vf_fma(p, r, vf_set(1.0f));
    p = vf_fma(p, r, vf_set(1.0f));
    return vf_mul(p, vf_pow2(vi_round(n)));
}

V_INLINE vf vf_silu(vf x) /* x / (1 + e^-x) */
{
    vf e = vf_exp(vf_sub(vf_zero(), x));
    return vf_div(x, vf_add(vf_set(1.0f), e));
}
