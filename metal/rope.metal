/* rope, kv_write, and the two in one: rope_kv_write, which a step runs.
 *
 * A simdgroup takes one head of one token, a lane the elements (2i, 2i + 1), (2i + 64, 2i + 65) and
 * so on: reads and writes of a simdgroup are 256 bytes in a row, and keys and values are stored by
 * just such pairs (kv.h). rope_kv_write turns keys on their way into their page, so that the turned
 * keys make no trip through memory; it serves query heads first, then KV heads, in one dispatch. The
 * norms of heads that Qwen3 has before the turning happen in the same registers: they cost no
 * dispatch, one sum over the simdgroup and a second reading of the head.
 */
#include "kv.h"
#include "rope.h"
#include "step.h"
using namespace metal;

/* Buffers from 3: x [rows, n_heads, head_dim], table, y. Grid: (n_heads, rows). */
kernel void rope(constant attention_args &args [[buffer(BUFFER_ARGS)]],
                 device const float *in [[buffer(BUFFER_OP)]],
                 device const float2 *table [[buffer(BUFFER_OP + 1)]],
                 device float2 *out [[buffer(BUFFER_OP + 2)]],
                 uint2 group [[threadgroup_position_in_grid]],
                 uint lane [[thread_index_in_simdgroup]])
{
    const size_t head = (size_t)group.y * (uint)args.n_heads + group.x;
    device const float *x = in + head * (uint)HEAD_DIM;
    device float2 *y = out + head * (uint)(HEAD_DIM / 2);
    device const float2 *turns = table + (size_t)group.y * (uint)(args.rotary_dim / 2);
    for (int i = (int)lane; i < HEAD_DIM / 2; i += SIMD_WIDTH)
        y[i] = rope_pair(x, turns, args, i);
}

/* Buffers from 3: k, v [n_tokens, n_kv_heads, head_dim], slabs. Grid: (n_kv_heads, n_tokens). */
kernel void kv_write(constant step_args &step [[buffer(BUFFER_STEP)]],
                     device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
                     constant attention_args &args [[buffer(BUFFER_ARGS)]],
                     device const float2 *keys [[buffer(BUFFER_OP)]],
                     device const float2 *values [[buffer(BUFFER_OP + 1)]],
                     device const kv_slab *slabs [[buffer(BUFFER_OP + 2)]],
                     uint2 group [[threadgroup_position_in_grid]],
                     uint lane [[thread_index_in_simdgroup]])
{
    const int head = (int)group.x, token = (int)group.y;
    const int position = position_of(step, data, token), at = position % PAGE_POSITIONS;
    const kv_head page =
        kv_head_of(slabs, args, page_table_of(step, data, token)[position / PAGE_POSITIONS], head);
    const size_t first = (size_t)(token * args.n_kv_heads + head) * (uint)(HEAD_DIM / 2);
    for (int i = (int)lane; i < HEAD_DIM / 2; i += SIMD_WIDTH) {
        page.write_key(at, i, keys[first + (uint)i]);
        page.write_value(at, i, values[first + (uint)i]);
    }
}

/* Pairs of a head as rope_kv_write makes them: normalised where HAS_NORM says so, and turned. */
struct turned_head {
    device const float *x;    /* [head_dim] */
    device const float2 *turns;
    normed_head normed;       /* with HAS_NORM */

    float2 pair(constant attention_args &args, int i) const
    {
        if (HAS_NORM) return rope_pair(normed, turns, args, i);
        return rope_pair(x, turns, args, i);
    }
};

/* Buffers from 3: q [n_tokens, n_heads, head_dim], k, v [n_tokens, n_kv_heads, head_dim], table,
 * q_rope, slabs, and with HAS_NORM the gains of queries and of keys [head_dim]. Grid: (n_heads +
 * n_kv_heads, n_tokens). */
kernel void rope_kv_write(constant step_args &step [[buffer(BUFFER_STEP)]],
                          device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
                          constant attention_args &args [[buffer(BUFFER_ARGS)]],
                          device const float *queries [[buffer(BUFFER_OP)]],
                          device const float *keys [[buffer(BUFFER_OP + 1)]],
                          device const float2 *values [[buffer(BUFFER_OP + 2)]],
                          device const float2 *table [[buffer(BUFFER_OP + 3)]],
                          device float2 *out [[buffer(BUFFER_OP + 4)]],
                          device const kv_slab *slabs [[buffer(BUFFER_OP + 5)]],
                          device const float *gain_q
                          [[buffer(BUFFER_OP + 6), function_constant(HAS_NORM)]],
                          device const float *gain_k
                          [[buffer(BUFFER_OP + 7), function_constant(HAS_NORM)]],
                          uint2 group [[threadgroup_position_in_grid]],
                          uint lane [[thread_index_in_simdgroup]])
{
    const int token = (int)group.y, head = (int)group.x - args.n_heads; /* < 0: of the queries */
    const size_t from = head < 0 ? (size_t)group.y * (uint)args.n_heads + group.x
                                 : (size_t)(token * args.n_kv_heads + head);
    turned_head turned;
    turned.x = (head < 0 ? queries : keys) + from * (uint)HEAD_DIM;
    turned.turns = table + (size_t)group.y * (uint)(args.rotary_dim / 2);
    if (HAS_NORM)
        turned.normed = norm_head(turned.x, head < 0 ? gain_q : gain_k, HEAD_DIM, args.eps, lane);
    if (head < 0) {
        for (int i = (int)lane; i < HEAD_DIM / 2; i += SIMD_WIDTH)
            out[from * (uint)(HEAD_DIM / 2) + (uint)i] = turned.pair(args, i);
        return;
    }
    const int position = position_of(step, data, token), at = position % PAGE_POSITIONS;
    const kv_head page =
        kv_head_of(slabs, args, page_table_of(step, data, token)[position / PAGE_POSITIONS], head);
    for (int i = (int)lane; i < HEAD_DIM / 2; i += SIMD_WIDTH) {
        page.write_key(at, i, turned.pair(args, i));
        page.write_value(at, i, values[from * (uint)(HEAD_DIM / 2) + (uint)i]);
    }
}
