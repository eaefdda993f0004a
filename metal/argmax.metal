/* argmax: the largest logit of a row, of equal ones that of the lowest id. Greedy decoding reads
 * back eight bytes a row instead of the vocabulary.
 *
 * One threadgroup a row; a thread looks at every 1,024th logit, so that a simdgroup reads 128 bytes
 * at a time and each logit once. Then simdgroups, then the whole group: first the largest rank,
 * then the lowest id that has it, which makes the answer independent of who found it.
 *
 * Buffers from 3: logits [n_logits, n_vocab], result top_entry [n_logits, 1].
 */
#include "top.h"
using namespace metal;

[[max_total_threads_per_threadgroup(TOP_THREADS)]] kernel void argmax(
    constant top_args &args [[buffer(BUFFER_ARGS)]],
    device const float *logits [[buffer(BUFFER_OP)]],
    device top_entry *result [[buffer(BUFFER_OP + 1)]],
    uint row [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]])
{
    threadgroup uint ranks[TOP_THREADS / SIMD_WIDTH], ids[TOP_THREADS / SIMD_WIDTH];
    const uint n_vocab = (uint)args.n_vocab, lane = thread_index % SIMD_WIDTH;
    device const float *x = logits + (size_t)row * n_vocab;

    uint rank = 0, id = UINT_MAX;
    for (uint i = thread_index; i < n_vocab; i += TOP_THREADS) {
        const uint other = rank_of(x[i]);
        if (other > rank) {
            rank = other;
            id = i;
        }
    }
    uint largest = simd_max(rank);
    id = simd_min(rank == largest ? id : UINT_MAX);
    if (lane == 0) {
        ranks[thread_index / SIMD_WIDTH] = largest;
        ids[thread_index / SIMD_WIDTH] = id;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index >= SIMD_WIDTH) return;
    rank = ranks[lane];
    largest = simd_max(rank);
    id = simd_min(rank == largest ? ids[lane] : UINT_MAX);
    if (lane > 0) return;
    const top_entry entry = {(int32_t)id, x[id]};
    result[row] = entry;
}
