/* attention_reduce: adds what attention_decode found in the splits of a long context.
 *
 * A simdgroup takes one (token, head), a lane up to four pairs of dimensions: first the largest of
 * the splits' maxima, then their sums, brought to it, in the order of the splits. Every row of
 * `partial` is read once, coalesced. Only the splits that the token has are looked at, however many
 * the longest sequence of the step has; with one, no bit changes.
 *
 * Buffers from 3: partial, y [n_tokens, n_heads, head_dim]. Grid: (n_heads, n_singles).
 */
#include "attention.h"
#include "constants.h"
#include "step.h"
using namespace metal;

kernel void attention_reduce(constant step_args &step [[buffer(BUFFER_STEP)]],
                             device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
                             constant attention_args &args [[buffer(BUFFER_ARGS)]],
                             device const float2 *partial [[buffer(BUFFER_OP)]],
                             device float2 *y [[buffer(BUFFER_OP + 1)]],
                             uint2 group [[threadgroup_position_in_grid]],
                             uint lane [[thread_index_in_simdgroup]])
{
    const int token = data[step.singles + (int)group.y], n_pairs = HEAD_DIM / 2;
    const int n_splits = position_of(step, data, token) / (SPLIT_PAGES * PAGE_POSITIONS) + 1;
    device const float2 *rows =
        partial + partial_row(step, args, group.y, group.x) * (uint)(n_pairs + 1);
    device float2 *out = y + ((size_t)token * (uint)args.n_heads + group.x) * (uint)n_pairs;

    float maximum = -INFINITY;
    for (int s = (int)lane; s < n_splits; s += SIMD_WIDTH)
        maximum = fmax(maximum, rows[(size_t)s * (uint)(n_pairs + 1) + (uint)n_pairs].x);
    maximum = simd_max(maximum);
    for (int pair = (int)lane; pair < n_pairs; pair += SIMD_WIDTH) {
        merged m = {maximum, 0.0f, float2(0.0f)};
        for (int s = 0; s < n_splits; s++) {
            device const float2 *row = rows + (size_t)s * (uint)(n_pairs + 1);
            m.add(row[n_pairs], row[pair]);
        }
        out[pair] = m.out / m.sum;
    }
}
