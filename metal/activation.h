/* SiLU and GELU of one number, for the element-wise kernels and for the gates of matvec and matmul.
 *
 * Both saturate where their exponential overflows: silu(-100) is -100 / inf = -0. `precise` because
 * the fast forms are allowed to give NaN there (MSL specification, section 8).
 */
#ifndef SMELT_ACTIVATION_H
#define SMELT_ACTIVATION_H

#include <metal_stdlib>

/* x sigmoid(x) (Hendrycks and Gimpel 2016, arXiv:1606.08415; Elfwing et al. 2017,
 * arXiv:1702.03118). */
static inline float silu(float x)
{
    return x / (1.0f + metal::precise::exp(-x));
}

/* The tanh approximation of x Phi(x) (arXiv:1606.08415, section 2), as ggml's GELU. */
static inline float gelu(float x)
{
    const float sqrt_2_over_pi = 0.79788456080286535588f;
    const float inner = metal::fma(0.044715f * x * x, x, x); /* no other way to round it */
    return 0.5f * x * (1.0f + metal::precise::tanh(sqrt_2_over_pi * inner));
}

#endif
