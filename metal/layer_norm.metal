/* layer_norm: y = (x - mean(x)) / sqrt(var(x) + eps) * gain [+ bias] (Ba et al. 2016,
 * arXiv:1607.06450).
 *
 * One threadgroup a row, a thread every 256th element. The variance is the mean of (x - mean)^2,
 * computed after the mean: mean(x^2) - mean(x)^2 would lose all digits where the mean is large.
 * That makes three readings of the row, of which the cache serves two.
 *
 * Buffers from 3: x, gain [width], [bias [width]], y.
 */
#include "constants.h"
#include "reduce.h"
using namespace metal;

[[max_total_threads_per_threadgroup(NORM_THREADS)]] kernel void layer_norm(
    constant norm_args &args [[buffer(BUFFER_ARGS)]],
    device const float *in [[buffer(BUFFER_OP)]],
    device const float *gain [[buffer(BUFFER_OP + 1)]],
    device const float *bias [[buffer(BUFFER_OP + 2), function_constant(HAS_BIAS_0)]],
    device float *out [[buffer(BUFFER_OP + 3)]],
    uint row [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]])
{
    threadgroup float partial[SIMD_WIDTH];
    const uint width = (uint)args.width, n_simdgroups = NORM_THREADS / SIMD_WIDTH;
    device const float *x = in + (size_t)row * width;
    device float *y = out + (size_t)row * width;

    float sum = 0.0f, squares = 0.0f;
    for (uint i = thread_index; i < width; i += NORM_THREADS) sum += x[i];
    const float mean = threadgroup_sum(sum, partial, thread_index, n_simdgroups) / (float)width;
    for (uint i = thread_index; i < width; i += NORM_THREADS) {
        const float apart = x[i] - mean;
        squares = fma(apart, apart, squares);
    }
    squares = threadgroup_sum(squares, partial, thread_index, n_simdgroups);

    const float inverse = 1.0f / precise::sqrt(squares / (float)width + args.eps);
    for (uint i = thread_index; i < width; i += NORM_THREADS) {
        const float normal = (x[i] - mean) * inverse * gain[i];
        y[i] = HAS_BIAS_0 ? normal + bias[i] : normal;
    }
}
