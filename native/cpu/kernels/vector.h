/* Small vector functions that several ops use, in terms of the v_ primitives. */

V_INLINE vf vf_load_part(const float *p, int n) /* the first n < 16 lanes, zero above */
{
    float lanes[16] = {0};
    for (int i = 0; i < n; i++) lanes[i] = p[i];
    return vf_load(lanes);
}

V_INLINE void vf_store_part(float *p, vf x, int n)
{
    float lanes[16];
    vf_store(lanes, x);
    memcpy(p, lanes, (size_t)n * sizeof *p);
}

/* x = n ln 2 + r with |r| <= ln 2 / 2 (the constant in two parts, after Cody and Waite), and q of
 * e^r = 1 + r + q r^2, Taylor's polynomial of degree 7. */
typedef struct {
    vf n, r, q;
} exp_parts;

V_INLINE exp_parts split_exp(vf x)
{
    exp_parts e;
    e.n = vf_round(vf_mul(x, vf_set(1.44269504f)));
    e.r = vf_fma(e.n, vf_set(-0.693359375f), x);
    e.r = vf_fma(e.n, vf_set(2.12194440e-4f), e.r);
    e.q = vf_set(1.0f / 5040.0f);
    e.q = vf_fma(e.q, e.r, vf_set(1.0f / 720.0f));
    e.q = vf_fma(e.q, e.r, vf_set(1.0f / 120.0f));
    e.q = vf_fma(e.q, e.r, vf_set(1.0f / 24.0f));
    e.q = vf_fma(e.q, e.r, vf_set(1.0f / 6.0f));
    e.q = vf_fma(e.q, e.r, vf_set(0.5f));
    return e;
}

/* Holds x within [low, high]. A NaN stays one: vf_min and vf_max return their second operand where
 * one is NaN. */
V_INLINE vf vf_clamp(vf x, float low, float high)
{
    return vf_max(vf_set(low), vf_min(vf_set(high), x));
}

/* e^x to 2 units in the last place for -87.3 <= x <= 88, e^-87.3 below, and infinity from 88.4 on,
 * so that x / (1 + e^-x) and its like end at zero. */
V_INLINE vf vf_exp(vf x)
{
    exp_parts e = split_exp(vf_clamp(x, -87.3f, 89.0f));
    vf p = vf_fma(vf_fma(e.q, e.r, vf_set(1.0f)), e.r, vf_set(1.0f));
    return vf_mul(p, vf_pow2(vi_round(e.n)));
}

V_INLINE vf vf_silu(vf x) /* x / (1 + e^-x) */
{
    vf e = vf_exp(vf_sub(vf_zero(), x));
    return vf_div(x, vf_add(vf_set(1.0f), e));
}

V_INLINE vf vf_sigmoid(vf x) /* 1 / (1 + e^-x) */
{
    vf e = vf_exp(vf_sub(vf_zero(), x));
    return vf_div(vf_set(1.0f), vf_add(vf_set(1.0f), e));
}

/* tanh x = t / (t + 2), t = e^2x - 1 = 2^n (r + q r^2) + (2^n - 1): nothing cancels near zero,
 * where n = 0 and r = 2x. In units of 2^-24, which one rounding is: r + q r^2 is off by 2 of its
 * size, and by 1/2 through r where n is not 0; so t by 6.3 of its size at most, where n = 1 and
 * t = 0.41; of that t / (t + 2) keeps 2 / (t + 2), and rounds twice itself. That is less than 8, 4
 * units in the last place, for every x. From |x| = 10 on, t is -1 or beyond 2^25: one. */
V_INLINE vf vf_tanh(vf x)
{
    exp_parts e = split_exp(vf_clamp(vf_add(x, x), -20.0f, 20.0f));
    vf power = vf_pow2(vi_round(e.n));
    vf p = vf_fma(vf_mul(e.q, e.r), e.r, e.r);
    vf t = vf_fma(p, power, vf_sub(power, vf_set(1.0f)));
    return vf_div(t, vf_add(t, vf_set(2.0f)));
}

/* x (1 + tanh y) / 2 = x / (1 + e^-2y), y = sqrt(2 / pi) (x + 0.044715 x^3): Hendrycks and Gimpel
 * 2016, arXiv:1606.08415. The second form keeps its digits where tanh y is near -1. */
V_INLINE vf vf_gelu(vf x)
{
    vf slope = vf_fma(vf_mul(x, x), vf_set(-0.0713548163f), vf_set(-1.59576912f));
    vf e = vf_exp(vf_mul(x, slope));
    return vf_div(x, vf_add(vf_set(1.0f), e));
}
