/* top_k: the k largest logits of a row in order, of equal ones those of the lowest ids. Sampling
 * reads back k of them instead of the vocabulary.
 *
 * One threadgroup a row. A radix selection from the top (as in Alabi et al. 2012, "Fast k-selection
 * algorithms for graphics processing units") finds where to cut: a histogram of the ranks' upper 11
 * bits says in which bin the k-th lies, one of the next 11 bits of that bin's ranks narrows it, and
 * so on, until a bin ends exactly at k. Ties that straddle the cut are settled in the same way by
 * the ids, inverted, so that the lower is the larger. Most rows need two or three readings of their
 * logits, coalesced, and a last one that collects the k found; a bitonic sort in threadgroup memory
 * puts them in order. Only integers are compared: the answer is exact, and the same every time.
 *
 * Buffers from 3: logits [n_logits, n_vocab], result top_entry [n_logits, k], of which those past
 * n_vocab are (-1, -inf).
 */
#include "top.h"
using namespace metal;

enum {
    TOP_BITS = 11,
    TOP_BINS = 1 << TOP_BITS,
    TOP_SIMDGROUPS = TOP_THREADS / SIMD_WIDTH,
};
static_assert(TOP_BINS == 2 * TOP_THREADS, "a thread counts two bins");

/* The cut: a logit is taken if its rank, as far as the mask reaches, is larger than this one, or if
 * it is equal and so much of its inverted id is not smaller. */
struct top_cut {
    uint rank, rank_mask, id, id_mask;

    bool at(uint r, uint i) const
    {
        return (r & rank_mask) == rank && (~i & id_mask) == id;
    }
    bool takes(uint r, uint i) const
    {
        return (r & rank_mask) > rank || ((r & rank_mask) == rank && (~i & id_mask) >= id);
    }
};

/* Where the wanted-th of the counted lies, counted from the highest bin. */
struct top_bin {
    uint bin, above, count; /* how many lie in higher bins, how many in this one */
};

static inline void count_digits(device const float *x, uint n_vocab, top_cut cut, bool of_id,
                                uint shift, threadgroup atomic_uint *bins, uint thread_index)
{
    for (uint i = thread_index; i < TOP_BINS; i += TOP_THREADS)
        atomic_store_explicit(&bins[i], 0u, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < n_vocab; i += TOP_THREADS) {
        const uint rank = rank_of(x[i]), digit = (of_id ? ~i : rank) >> shift & (TOP_BINS - 1);
        if (cut.at(rank, i)) atomic_fetch_add_explicit(&bins[digit], 1u, memory_order_relaxed);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
}

/* Each thread has the next two bins from the top; the one in whose bins the wanted-th lies says
 * so. */
static inline void find_bin(threadgroup atomic_uint *bins, uint wanted, threadgroup uint *totals,
                            threadgroup top_bin *found, uint thread_index)
{
    const uint lane = thread_index % SIMD_WIDTH, simdgroup = thread_index / SIMD_WIDTH;
    const uint high = TOP_BINS - 1 - 2 * thread_index;
    const uint first = atomic_load_explicit(&bins[high], memory_order_relaxed);
    const uint second = atomic_load_explicit(&bins[high - 1], memory_order_relaxed);
    uint before = simd_prefix_exclusive_sum(first + second);
    if (lane == SIMD_WIDTH - 1) totals[simdgroup] = before + first + second;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    before += simd_sum(lane < simdgroup ? totals[lane] : 0u);
    if (before < wanted && wanted <= before + first + second) {
        const bool in_first = wanted <= before + first;
        const top_bin bin = {in_first ? high : high - 1, in_first ? before : before + first,
                             in_first ? first : second};
        *found = bin;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
}

static inline top_cut find_cut(device const float *x, uint n_vocab, uint k,
                               threadgroup atomic_uint *bins, threadgroup uint *totals,
                               threadgroup top_bin *found, uint thread_index)
{
    top_cut cut = {0, 0, 0, 0};
    uint wanted = k;
    for (int of_id = 0; of_id < 2; of_id++)
        for (int top = 32; top > 0; top -= TOP_BITS) {
            const uint shift = (uint)max(top - TOP_BITS, 0); /* the last two digits overlap */
            count_digits(x, n_vocab, cut, of_id, shift, bins, thread_index);
            find_bin(bins, wanted, totals, found, thread_index);
            const top_bin b = *found;
            const uint digit = b.bin << shift, mask = (uint)(TOP_BINS - 1) << shift;
            if (of_id) {
                cut.id |= digit;
                cut.id_mask |= mask;
            } else {
                cut.rank |= digit;
                cut.rank_mask |= mask;
            }
            wanted -= b.above;
            if (b.count == wanted) return cut;
        }
    return cut;
}

static inline bool precedes(uint rank_a, uint id_a, uint rank_b, uint id_b)
{
    return rank_a > rank_b || (rank_a == rank_b && id_a < id_b);
}

/* Batcher's bitonic sort of n = 2^m entries. */
static inline void sort_entries(threadgroup uint *ranks, threadgroup uint *ids, uint n,
                                uint thread_index)
{
    for (uint size = 2; size <= n; size *= 2)
        for (uint stride = size / 2; stride > 0; stride /= 2) {
            threadgroup_barrier(mem_flags::mem_threadgroup);
            const uint a = 2 * thread_index - thread_index % stride, b = a + stride;
            if (b >= n) continue;
            const uint rank_a = ranks[a], id_a = ids[a], rank_b = ranks[b], id_b = ids[b];
            if (precedes(rank_b, id_b, rank_a, id_a) != ((a & size) != 0)) {
                ranks[a] = rank_b;
                ids[a] = id_b;
                ranks[b] = rank_a;
                ids[b] = id_a;
            }
        }
    threadgroup_barrier(mem_flags::mem_threadgroup);
}

[[max_total_threads_per_threadgroup(TOP_THREADS)]] kernel void top_k(
    constant top_args &args [[buffer(BUFFER_ARGS)]],
    device const float *logits [[buffer(BUFFER_OP)]],
    device top_entry *result [[buffer(BUFFER_OP + 1)]],
    uint row [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]])
{
    threadgroup atomic_uint bins[TOP_BINS];
    threadgroup uint totals[TOP_SIMDGROUPS], ranks[TOP_MAX], ids[TOP_MAX];
    threadgroup top_bin found;
    threadgroup atomic_uint n_taken;
    const uint n_vocab = (uint)args.n_vocab, k = min((uint)args.k, n_vocab);
    device const float *x = logits + (size_t)row * n_vocab;

    const top_cut cut = find_cut(x, n_vocab, k, bins, totals, &found, thread_index);
    uint n = 2;
    while (n < k) n *= 2;
    for (uint i = k + thread_index; i < n; i += TOP_THREADS) { /* sorted behind everything */
        ranks[i] = 0;
        ids[i] = UINT_MAX;
    }
    if (thread_index == 0) atomic_store_explicit(&n_taken, 0u, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < n_vocab; i += TOP_THREADS) {
        const uint rank = rank_of(x[i]);
        if (!cut.takes(rank, i)) continue;
        const uint slot = atomic_fetch_add_explicit(&n_taken, 1u, memory_order_relaxed);
        ranks[slot] = rank;
        ids[slot] = i;
    }
    sort_entries(ranks, ids, n, thread_index);
    for (uint i = thread_index; i < (uint)args.k; i += TOP_THREADS) {
        const top_entry entry = {i < k ? (int32_t)ids[i] : -1, i < k ? x[ids[i]] : -INFINITY};
        result[(size_t)row * (uint)args.k + i] = entry;
    }
}
