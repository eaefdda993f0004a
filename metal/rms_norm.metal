/* rms_norm: y = x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich 2019, arXiv:1910.07467).
 *
 * One threadgroup a row. A thread takes every 256th element, twice: first for the sum of squares,
 * then for the result. The second reading comes from the cache (a row of 8,192 is 32 KiB), so
 * memory is read and written once. The sum is 256 sums of a few squares each, added by a tree: its
 * error stays near that of a single rounding. In decode there is no dispatch of this kernel: matvec
 * normalises on the way in.
 *
 * Buffers from 3: x, gain [width], y. With SELECTED, row i of y comes from the i-th token whose
 * logits are wanted.
 */
#include "constants.h"
#include "reduce.h"
#include "step.h"
using namespace metal;

[[max_total_threads_per_threadgroup(NORM_THREADS)]] kernel void rms_norm(
    constant step_args &step [[buffer(BUFFER_STEP)]],
    device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
    constant norm_args &args [[buffer(BUFFER_ARGS)]],
    device const float *in [[buffer(BUFFER_OP)]],
    device const float *gain [[buffer(BUFFER_OP + 1)]],
    device float *out [[buffer(BUFFER_OP + 2)]],
    uint row [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]])
{
    threadgroup float partial[SIMD_WIDTH];
    const uint width = (uint)args.width;
    device const float *x = in + (size_t)input_row(step, data, (int)row, SELECTED) * width;
    device float *y = out + (size_t)row * width;

    float squares = 0.0f;
    for (uint i = thread_index; i < width; i += NORM_THREADS) squares = fma(x[i], x[i], squares);
    squares = threadgroup_sum(squares, partial, thread_index, NORM_THREADS / SIMD_WIDTH);

    const float inverse = 1.0f / precise::sqrt(squares / (float)width + args.eps);
    for (uint i = thread_index; i < width; i += NORM_THREADS) y[i] = x[i] * inverse * gain[i];
}
