/* attention of single tokens (decode).
 *
 * Flash attention (Dao et al. 2022, arXiv:2205.14135) on the online softmax of Milakov and
 * Gimelshein 2018, arXiv:1805.02867, split over the context as in Flash-Decoding (Dao, Haziza,
 * Massa and Sizov 2023). Decode attention is bound by the reading of keys and values, so they are
 * read once for all GROUP_HEADS query heads that share them (llama.cpp's and MLX's vector kernels
 * read them once a head and leave the rest to the cache), and every reading is of whole lines
 * (kv.h).
 *
 * A threadgroup serves one token, one group of heads, and the SPLIT_PAGES pages of one split; each
 * of its 8 simdgroups takes every 8th page and keeps maximum, sum and output of every head in
 * registers. (Eight, since a short context of a model with few KV heads makes only a handful of
 * threadgroups, and a core needs several simdgroups to hide the latency of its loads.)
 *   scores: a lane is a position. Its dot products need no other lane; q comes from threadgroup
 *     memory, the same address for all lanes.
 *   softmax: one simd_max a head; sums stay in their lanes until the end.
 *   values: a lane is one to four pairs of dimensions; the weights of the page's positions go
 *     through threadgroup memory, four a reading.
 * At the end the simdgroups' results are merged, in their order. A sequence's pages are split alike
 * whatever else is in the step, so that the other sequences change no bit of a token's output.
 *
 * float32 throughout; from half pages only the loads differ.
 */
#include "attention.h"
#include "constants.h"
#include "kv.h"
#include "step.h"
using namespace metal;

enum {
    DECODE_SIMDGROUPS = DECODE_THREADS / SIMD_WIDTH,
    LANE_PAIRS = MAX_HEAD_DIM / 2 / SIMD_WIDTH, /* pairs of dimensions a lane has, at most */
    MERGE_HEADS = 2,                            /* heads merged at a time */
    QUERY_FLOATS = ATTENTION_MAX_HEADS * MAX_HEAD_DIM,
    WEIGHT_FLOATS = ATTENTION_MAX_HEADS * PAGE_POSITIONS, /* of a simdgroup */
    MERGE_FLOATS = DECODE_SIMDGROUPS * MERGE_HEADS * MAX_HEAD_DIM,
};
static_assert(QUERY_FLOATS + DECODE_SIMDGROUPS * WEIGHT_FLOATS <= MERGE_FLOATS,
              "the memory of merging serves the queries and weights before");

constant bool WHOLE = !SPLIT;

/* What a lane knows of its simdgroup's pages so far. `sum` is of the lane's own positions. */
struct decode_state {
    float maximum[ATTENTION_MAX_HEADS];
    float sum[ATTENTION_MAX_HEADS];
    float2 out[ATTENTION_MAX_HEADS][LANE_PAIRS];
};

/* Whether any lane has a pair c. What that rules out is never computed and takes no register, which
 * the compiler cannot see for itself from pairs of lanes. */
static inline bool has_pair(int c) { return 2 * c * SIMD_WIDTH < HEAD_DIM; }

static inline decode_state nothing_seen()
{
    decode_state state;
#pragma clang loop unroll(full)
    for (int h = 0; h < ATTENTION_MAX_HEADS; h++) {
        state.maximum[h] = -INFINITY;
        state.sum[h] = 0.0f;
#pragma clang loop unroll(full)
        for (int c = 0; c < LANE_PAIRS; c++) state.out[h][c] = 0.0f;
    }
    return state;
}

/* float4s from one head's query to the next in threadgroup memory. */
static inline int query_stride() { return (HEAD_DIM + 3) / 4; }

/* Queries of the group's heads into threadgroup memory, with zeros up to the stride. */
static inline void read_queries(device const float *q, threadgroup float *to, uint thread_index)
{
    const int stride = 4 * query_stride();
    for (int i = (int)thread_index; i < GROUP_HEADS * stride; i += DECODE_THREADS)
        to[i] = i % stride < HEAD_DIM ? q[i / stride * HEAD_DIM + i % stride] : 0.0f;
}

/* q k of the lane's position, for each head. Two pairs at a time: one reading of q serves both. */
static inline void score_page(kv_head page, int position, threadgroup const float4 *q,
                              thread float *scores)
{
    const int n_pairs = HEAD_DIM / 2;
    float2 sums[ATTENTION_MAX_HEADS];
#pragma clang loop unroll(full)
    for (int h = 0; h < ATTENTION_MAX_HEADS; h++) sums[h] = 0.0f;
#pragma clang loop unroll_count(4)
    for (int i = 0; i < n_pairs; i += 2) {
        const float2 k0 = page.key(position, i);
        const float2 k1 = i + 1 < n_pairs ? page.key(position, i + 1) : float2(0.0f);
#pragma clang loop unroll(full)
        for (int h = 0; h < ATTENTION_MAX_HEADS; h++)
            if (h < GROUP_HEADS) {
                const float4 x = q[h * query_stride() + i / 2];
                sums[h] = fma(k0, x.xy, sums[h]);
                sums[h] = fma(k1, x.zw, sums[h]);
            }
    }
#pragma clang loop unroll(full)
    for (int h = 0; h < ATTENTION_MAX_HEADS; h++) scores[h] = sums[h].x + sums[h].y;
}

/* Scores to weights, [GROUP_HEADS, PAGE_POSITIONS] in threadgroup memory; what was summed before
 * shrinks as the maximum grows. */
static inline void weigh_page(thread const float *scores, bool is_seen, float scale, uint lane,
                              threadgroup float *weights, thread decode_state &state)
{
#pragma clang loop unroll(full)
    for (int h = 0; h < ATTENTION_MAX_HEADS; h++)
        if (h < GROUP_HEADS) {
            const float score = is_seen ? scores[h] * scale : -INFINITY;
            const float maximum = fmax(state.maximum[h], simd_max(score));
            const float shrink = softmax_weight(state.maximum[h], maximum);
            const float weight = softmax_weight(score, maximum);
            state.maximum[h] = maximum;
            state.sum[h] = fma(state.sum[h], shrink, weight);
#pragma clang loop unroll(full)
            for (int c = 0; c < LANE_PAIRS; c++)
                if (has_pair(c)) state.out[h][c] *= shrink;
            weights[h * PAGE_POSITIONS + (int)lane] = weight;
        }
}

/* Adds the values of the page's first `seen` positions, four at a time. Those missing in the last
 * four have the weight 0; the last seen one is read in their place, since a page may hold
 * anything. */
static inline void add_values(kv_head page, int seen, threadgroup const float4 *weights, uint lane,
                              thread decode_state &state)
{
    for (int first = 0; first < seen; first += 4) {
        float2 v[4][LANE_PAIRS];
#pragma clang loop unroll(full)
        for (int i = 0; i < 4; i++)
#pragma clang loop unroll(full)
            for (int c = 0; c < LANE_PAIRS; c++) {
                const int pair = (int)lane + c * SIMD_WIDTH;
                v[i][c] = pair < HEAD_DIM / 2 ? page.value(min(first + i, seen - 1), pair)
                                              : float2(0.0f);
            }
#pragma clang loop unroll(full)
        for (int h = 0; h < ATTENTION_MAX_HEADS; h++)
            if (h < GROUP_HEADS) {
                const float4 w = weights[(h * PAGE_POSITIONS + first) / 4];
#pragma clang loop unroll(full)
                for (int c = 0; c < LANE_PAIRS; c++)
                    if (has_pair(c)) {
                        float2 sum = state.out[h][c];
                        sum = fma(float2(w.x), v[0][c], sum);
                        sum = fma(float2(w.y), v[1][c], sum);
                        sum = fma(float2(w.z), v[2][c], sum);
                        state.out[h][c] = fma(float2(w.w), v[3][c], sum);
                    }
            }
    }
}

static inline void attend_page(kv_head page, int seen, threadgroup const float4 *q, float scale,
                               uint lane, threadgroup float *weights, thread decode_state &state)
{
    float scores[ATTENTION_MAX_HEADS];
    score_page(page, min((int)lane, seen - 1), q, scores);
    weigh_page(scores, (int)lane < seen, scale, lane, weights, state);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    add_values(page, seen, (threadgroup const float4 *)weights, lane, state);
    simdgroup_barrier(mem_flags::mem_threadgroup); /* before the weights are written again */
}

/* A simdgroup's results for MERGE_HEADS heads, into threadgroup memory: outs [MERGE_HEADS, pairs],
 * and (maximum, sum of weights) of each head. */
static inline void publish(thread const decode_state &state, int first, uint lane,
                           threadgroup float2 *outs, threadgroup float2 *totals)
{
#pragma clang loop unroll(full)
    for (int h = 0; h < MERGE_HEADS; h++)
        if (first + h < GROUP_HEADS) {
            const float sum = simd_sum(state.sum[first + h]);
            if (lane == 0) totals[h] = float2(state.maximum[first + h], sum);
#pragma clang loop unroll(full)
            for (int c = 0; c < LANE_PAIRS; c++) {
                const int pair = (int)lane + c * SIMD_WIDTH;
                if (has_pair(c) && pair < HEAD_DIM / 2)
                    outs[h * (HEAD_DIM / 2) + pair] = state.out[first + h][c];
            }
        }
}

/* One pair of one head, of all simdgroups: outs [simdgroups, MERGE_HEADS, pairs] and totals. */
static inline merged merge(threadgroup const float2 *outs, threadgroup const float2 *totals, int h,
                           int pair)
{
    merged m = {-INFINITY, 0.0f, float2(0.0f)};
    for (int s = 0; s < DECODE_SIMDGROUPS; s++)
        m.maximum = fmax(m.maximum, totals[s * MERGE_HEADS + h].x);
    for (int s = 0; s < DECODE_SIMDGROUPS; s++) {
        const int at = s * MERGE_HEADS + h;
        m.add(totals[at], outs[at * (HEAD_DIM / 2) + pair]);
    }
    return m;
}

/* Buffers from 3: q [n_tokens, n_heads, head_dim], slabs, [y, as q], [partial]. Grid: (n_heads /
 * GROUP_HEADS, n_singles, n_splits). */
[[max_total_threads_per_threadgroup(DECODE_THREADS)]] kernel void attention_decode(
    constant step_args &step [[buffer(BUFFER_STEP)]],
    device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
    constant attention_args &args [[buffer(BUFFER_ARGS)]],
    device const float *queries [[buffer(BUFFER_OP)]],
    device const kv_slab *slabs [[buffer(BUFFER_OP + 1)]],
    device float2 *y [[buffer(BUFFER_OP + 2), function_constant(WHOLE)]],
    device float2 *partial [[buffer(BUFFER_OP + 3), function_constant(SPLIT)]],
    uint3 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]])
{
    threadgroup float4 shared[MERGE_FLOATS / 4];
    threadgroup float2 totals[DECODE_SIMDGROUPS * MERGE_HEADS];
    const int token = data[step.singles + (int)group.y];
    const int seen = position_of(step, data, token) + 1;
    const int first_page = (int)group.z * SPLIT_PAGES, n_pages = (seen - 1) / PAGE_POSITIONS + 1;
    if (first_page >= n_pages) return; /* attention_reduce does not look for it either */
    const int end_page = min(n_pages, first_page + SPLIT_PAGES);
    const int first_head = (int)group.x * GROUP_HEADS;
    const int kv_index = first_head / (args.n_heads / args.n_kv_heads);
    device const int32_t *table = page_table_of(step, data, token);

    read_queries(queries + (size_t)(token * args.n_heads + first_head) * (uint)HEAD_DIM,
                 (threadgroup float *)shared, thread_index);
    threadgroup_barrier(mem_flags::mem_threadgroup);

    decode_state state = nothing_seen();
    threadgroup float *weights =
        (threadgroup float *)shared + QUERY_FLOATS + (int)simdgroup * WEIGHT_FLOATS;
    for (int p = first_page + (int)simdgroup; p < end_page; p += DECODE_SIMDGROUPS) {
        const int n = min(seen - p * PAGE_POSITIONS, (int)PAGE_POSITIONS);
        attend_page(kv_head_of(slabs, args, table[p], kv_index), n, shared, args.scale, lane,
                    weights, state);
    }

    threadgroup float2 *outs = (threadgroup float2 *)shared;
    const int n_pairs = HEAD_DIM / 2, own = (int)simdgroup * MERGE_HEADS;
    /* no `break`, after which the loop is not unrolled and registers are indexed as it runs */
#pragma clang loop unroll(full)
    for (int first = 0; first < ATTENTION_MAX_HEADS; first += MERGE_HEADS)
        if (first < GROUP_HEADS) {
            threadgroup_barrier(mem_flags::mem_threadgroup); /* what `shared` held has been read */
            publish(state, first, lane, outs + own * n_pairs, totals + own);
            threadgroup_barrier(mem_flags::mem_threadgroup);
            const int n = min(GROUP_HEADS - first, (int)MERGE_HEADS) * n_pairs;
            for (int i = (int)thread_index; i < n; i += DECODE_THREADS) {
                const int h = i / n_pairs, pair = i % n_pairs;
                const merged m = merge(outs, totals, h, pair);
                const uint head = (uint)(first_head + first + h);
                if (SPLIT) {
                    const size_t row = partial_row(step, args, group.y, head) + group.z;
                    device float2 *to = partial + row * (uint)(n_pairs + 1);
                    to[pair] = m.out;
                    if (pair == 0) to[n_pairs] = float2(m.maximum, m.sum);
                } else
                    y[((size_t)token * (uint)args.n_heads + head) * (uint)n_pairs + (uint)pair] =
                        m.out / m.sum;
            }
        }
}
