/* attention_scores and attention_mix: q K^T and p V by themselves, with softmax.metal between them.
 *
 * They write every score and weight, [n_tokens, n_heads, capacity], for traces and for comparing
 * devices op by op; the fused kernels never do. So they are plain: no sharing of pages between the
 * heads of a group, and every sum in the order of its terms.
 */
#include "constants.h"
#include "kv.h"
#include "step.h"
using namespace metal;

static inline float score_of(kv_head kv, device const float2 *q, int position)
{
    float2 sum = 0.0f;
    for (int i = 0; i < HEAD_DIM / 2; i++) sum = fma(q[i], kv.key(position, i), sum);
    return sum.x + sum.y;
}

/* A simdgroup takes every 8th page, a lane a position: reads of keys are coalesced (kv.h), q comes
 * from the cache. Positions past the token's own get 0, as on the CPU. Buffers from 3: q [n_tokens,
 * n_heads, head_dim], slabs, scores. Grid: (n_heads, n_tokens). */
[[max_total_threads_per_threadgroup(NORM_THREADS)]] kernel void attention_scores(
    constant step_args &step [[buffer(BUFFER_STEP)]],
    device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
    constant attention_args &args [[buffer(BUFFER_ARGS)]],
    device const float2 *queries [[buffer(BUFFER_OP)]],
    device const kv_slab *slabs [[buffer(BUFFER_OP + 1)]],
    device float *scores [[buffer(BUFFER_OP + 2)]],
    uint2 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]])
{
    const int head = (int)group.x, token = (int)group.y;
    const int kv_index = head / (args.n_heads / args.n_kv_heads);
    const int seen = position_of(step, data, token) + 1;
    device const int32_t *table = page_table_of(step, data, token);
    const size_t row = (size_t)(token * args.n_heads + head);
    device const float2 *q = queries + row * (uint)(HEAD_DIM / 2);
    device float *s = scores + row * (uint)args.capacity;

    for (int p = (int)thread_index; p < args.capacity; p += NORM_THREADS) {
        float score = 0.0f;
        if (p < seen) {
            const kv_head page = kv_head_of(slabs, args, table[p / PAGE_POSITIONS], kv_index);
            score = score_of(page, q, p % PAGE_POSITIONS);
        }
        s[p] = score;
    }
}

/* A thread a pair of dimensions, so that most of the group has nothing to do.
 * Buffers from 3: p [n_tokens, n_heads, capacity], slabs, y [n_tokens, n_heads, head_dim]. Grid:
 * (n_heads, n_tokens). */
[[max_total_threads_per_threadgroup(NORM_THREADS)]] kernel void attention_mix(
    constant step_args &step [[buffer(BUFFER_STEP)]],
    device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
    constant attention_args &args [[buffer(BUFFER_ARGS)]],
    device const float *weights [[buffer(BUFFER_OP)]],
    device const kv_slab *slabs [[buffer(BUFFER_OP + 1)]],
    device float2 *y [[buffer(BUFFER_OP + 2)]],
    uint2 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]])
{
    const int head = (int)group.x, token = (int)group.y, pair = (int)thread_index;
    const int kv_index = head / (args.n_heads / args.n_kv_heads);
    const int seen = position_of(step, data, token) + 1;
    device const int32_t *table = page_table_of(step, data, token);
    const size_t row = (size_t)(token * args.n_heads + head);
    device const float *p = weights + row * (uint)args.capacity;
    if (pair >= HEAD_DIM / 2) return;

    float2 sum = 0.0f;
    for (int first = 0; first < seen; first += PAGE_POSITIONS) {
        const kv_head page = kv_head_of(slabs, args, table[first / PAGE_POSITIONS], kv_index);
        const int n = min(seen - first, (int)PAGE_POSITIONS);
        for (int i = 0; i < n; i++) sum = fma(float2(p[first + i]), page.value(i, pair), sum);
    }
    y[row * (uint)(HEAD_DIM / 2) + thread_index] = sum;
}
