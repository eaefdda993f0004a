/* softmax of one (token, head)'s scores over the positions that the token may see: the middle one
 * of the three ops that attention is unfused. A trace shows it; fused programs hold no such rows.
 *
 * One threadgroup a row, a thread every 256th position: the largest score, the weights exp(s -
 * largest) and their sum, then the division. The weights wait in the output for their sum, each
 * written and read by the same thread. Positions past the token's own get 0.
 *
 * Buffers from 3: scores, p: both [n_tokens, n_heads, capacity].
 */
#include "reduce.h"
#include "step.h"
using namespace metal;

[[max_total_threads_per_threadgroup(NORM_THREADS)]] kernel void softmax(
    constant step_args &step [[buffer(BUFFER_STEP)]],
    device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
    constant attention_args &args [[buffer(BUFFER_ARGS)]],
    device const float *scores [[buffer(BUFFER_OP)]],
    device float *weights [[buffer(BUFFER_OP + 1)]],
    uint2 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]])
{
    threadgroup float partial[SIMD_WIDTH];
    const uint head = group.x, token = group.y, n_simdgroups = NORM_THREADS / SIMD_WIDTH;
    const uint seen = (uint)position_of(step, data, (int)token) + 1, capacity = (uint)args.capacity;
    const size_t row = (size_t)(token * (uint)args.n_heads + head) * capacity;
    device const float *s = scores + row;
    device float *p = weights + row;

    float most = -INFINITY, sum = 0.0f;
    for (uint i = thread_index; i < seen; i += NORM_THREADS) most = fmax(most, s[i] * args.scale);
    most = threadgroup_max(most, partial, thread_index, n_simdgroups);
    for (uint i = thread_index; i < seen; i += NORM_THREADS) {
        p[i] = precise::exp(s[i] * args.scale - most);
        sum += p[i];
    }
    sum = threadgroup_sum(sum, partial, thread_index, n_simdgroups);
    for (uint i = thread_index; i < seen; i += NORM_THREADS) p[i] /= sum;
    for (uint i = seen + thread_index; i < capacity; i += NORM_THREADS) p[i] = 0.0f;
}
