/* attention of a tile of queries (prefill): up to 32 tokens with consecutive positions, one head.
 *
 * Flash attention (Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691): the threadgroup
 * walks the pages from the first to that of its last token, keeps a running maximum, sum and output
 * of each query, and never has more scores than those of 32 queries and one page. Matrices are
 * tiles of 8 x 8 on simdgroup_matrix; each of the 4 simdgroups has 8 of the queries (MLX's and
 * llama.cpp's kernels share out the work alike), and so its own rows of scores and nobody to wait
 * for in the softmax.
 *
 *   queries  in registers, 8 x head_dim a simdgroup
 *   page     read once for all 4 simdgroups, 64 dimensions at a time, into `stage`: keys as
 *            [dimension, position], as Q K^T wants them, values as [position, dimension]; zeros
 *            past head_dim, and past the last position, where a page may hold anything
 *   scores   8 x 32 a simdgroup: through threadgroup memory into the softmax, and back as weights
 *   output   in registers, 8 x head_dim a simdgroup; when maxima grow its rows shrink, by a product
 *            with a diagonal matrix, since the specification does not say which lane holds which
 *            element
 *
 * A page that a query does not see yet adds zeros to it, so a token's bits do not depend on where
 * its tile begins. (But 0 times NaN is NaN: the product with weights and with the diagonal spreads
 * one over its tile.)
 *
 * Inputs and sums are float32. With half matrices a tile of keys or values would take half the
 * threadgroup memory, and an M1 or M2 gains little else; it would round queries and weights to 11
 * bits. Rows are a few floats longer than their content, so that the 8 rows of a tile lie in
 * different banks. For a head_dim above 128 queries and output no longer fit the 128 registers of a
 * lane, and the compiler will keep some of the queries in memory: a reading a page, little beside
 * the products.
 */
#include "attention.h"
#include "constants.h"
#include "kv.h"
#include "step.h"
using namespace metal;

enum {
    PREFILL_SIMDGROUPS = PREFILL_THREADS / SIMD_WIDTH,
    QUERY_ROWS = 8, /* of a simdgroup: a row of tiles */
    DIM_TILES = MAX_HEAD_DIM / 8,
    PAGE_TILES = PAGE_POSITIONS / 8,
    STAGE_DIMS = 64, /* dimensions staged at a time: a chunk */
    CHUNKS = MAX_HEAD_DIM / STAGE_DIMS,
    CHUNK_TILES = STAGE_DIMS / 8,
    KEY_PITCH = PAGE_POSITIONS + 8, /* floats from row to row */
    VALUE_PITCH = STAGE_DIMS + 8,
    SCORE_PITCH = PAGE_POSITIONS + 8, /* the last 8 columns: the diagonal matrix */
    STAGE_FLOATS = STAGE_DIMS * KEY_PITCH,
    SCORE_FLOATS = QUERY_ROWS * SCORE_PITCH,
};
static_assert(TILE_TOKENS == PREFILL_SIMDGROUPS * QUERY_ROWS, "a simdgroup takes 8 queries");
static_assert(PAGE_POSITIONS * VALUE_PITCH <= STAGE_FLOATS, "values fit where keys do");
static_assert(TILE_TOKENS * VALUE_PITCH <= STAGE_FLOATS, "and so do queries");

/* What a simdgroup keeps of its 8 queries, and a lane of one of them: four lanes have a query, each
 * every fourth position of a page. `sum` is of the lane's own positions. */
struct prefill_state {
    simdgroup_float8x8 query[DIM_TILES], out[DIM_TILES];
    float maximum, sum;
};

/* Dimensions of chunk c of STAGE_DIMS, rounded up to whole tiles. */
static inline int chunk_dims(int c)
{
    return min((HEAD_DIM + 7) / 8 * 8 - c * STAGE_DIMS, (int)STAGE_DIMS);
}

/* Chunk c of the queries to stage [TILE_TOKENS, VALUE_PITCH]. q: the first of n, each `row_pairs`
 * behind the other. */
static inline void stage_queries(device const float2 *q, uint row_pairs, int n, int c,
                                 threadgroup float *stage, int thread_index)
{
    const int pairs = chunk_dims(c) / 2;
    for (int i = thread_index; i < TILE_TOKENS * pairs; i += PREFILL_THREADS) {
        const int row = i / pairs, column = i % pairs, pair = c * STAGE_DIMS / 2 + column;
        float2 x = 0.0f;
        if (row < n && pair < HEAD_DIM / 2) x = q[(uint)row * row_pairs + (uint)pair];
        *(threadgroup float2 *)(stage + row * VALUE_PITCH + 2 * column) = x;
    }
}

/* Chunk c of a page's first n keys to stage [STAGE_DIMS, KEY_PITCH]: a simdgroup reads a pair of
 * dimensions of all positions at a time. */
static inline void stage_keys(kv_head page, int n, int c, threadgroup float *stage,
                              int thread_index)
{
    const int position = thread_index % PAGE_POSITIONS, pairs = chunk_dims(c) / 2;
    const int stride = PREFILL_THREADS / PAGE_POSITIONS;
    for (int i = thread_index / PAGE_POSITIONS; i < pairs; i += stride) {
        const int pair = c * STAGE_DIMS / 2 + i;
        float2 x = 0.0f;
        if (position < n && pair < HEAD_DIM / 2) x = page.key(position, pair);
        stage[2 * i * KEY_PITCH + position] = x.x;
        stage[(2 * i + 1) * KEY_PITCH + position] = x.y;
    }
}

/* Chunk c of a page's first n values to stage [PAGE_POSITIONS, VALUE_PITCH]. */
static inline void stage_values(kv_head page, int n, int c, threadgroup float *stage,
                                int thread_index)
{
    const int pairs = chunk_dims(c) / 2;
    for (int i = thread_index; i < PAGE_POSITIONS * pairs; i += PREFILL_THREADS) {
        const int position = i / pairs, column = i % pairs, pair = c * STAGE_DIMS / 2 + column;
        float2 x = 0.0f;
        if (position < n && pair < HEAD_DIM / 2) x = page.value(position, pair);
        *(threadgroup float2 *)(stage + position * VALUE_PITCH + 2 * column) = x;
    }
}

/* Loads the simdgroup's queries, rows first_row on of the tile. All threads call this and what
 * follows, since they fill `stage` together. */
static inline void load_queries(device const float2 *q, uint row_pairs, int n, int first_row,
                                threadgroup float *stage, int thread_index,
                                thread prefill_state &state)
{
#pragma clang loop unroll(full)
    for (int c = 0; c < CHUNKS; c++)
        if (c * STAGE_DIMS < HEAD_DIM) {
            threadgroup_barrier(mem_flags::mem_threadgroup); /* `stage` has been read */
            stage_queries(q, row_pairs, n, c, stage, thread_index);
            threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma clang loop unroll(full)
            for (int i = 0; i < CHUNK_TILES; i++)
                if (c * STAGE_DIMS + 8 * i < HEAD_DIM)
                    simdgroup_load(state.query[c * CHUNK_TILES + i],
                                   stage + first_row * VALUE_PITCH + 8 * i, VALUE_PITCH);
        }
}

/* Q K^T of the simdgroup's queries and a page, to `scores`, if any of them sees the page. */
static inline void score_keys(kv_head page, int n, bool sees, threadgroup float *stage,
                              int thread_index, threadgroup float *scores,
                              thread prefill_state &state)
{
    simdgroup_float8x8 sums[PAGE_TILES], key;
#pragma clang loop unroll(full)
    for (int j = 0; j < PAGE_TILES; j++)
        sums[j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
#pragma clang loop unroll(full)
    for (int c = 0; c < CHUNKS; c++)
        if (c * STAGE_DIMS < HEAD_DIM) {
            threadgroup_barrier(mem_flags::mem_threadgroup);
            stage_keys(page, n, c, stage, thread_index);
            threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma clang loop unroll(full)
            for (int i = 0; i < CHUNK_TILES; i++)
                if (c * STAGE_DIMS + 8 * i < HEAD_DIM && sees)
#pragma clang loop unroll(full)
                    for (int j = 0; j < PAGE_TILES; j++) {
                        simdgroup_load(key, stage + 8 * i * KEY_PITCH + 8 * j, KEY_PITCH);
                        simdgroup_multiply_accumulate(sums[j], state.query[c * CHUNK_TILES + i],
                                                      key, sums[j]);
                    }
        }
    if (!sees) return;
#pragma clang loop unroll(full)
    for (int j = 0; j < PAGE_TILES; j++) simdgroup_store(sums[j], scores + 8 * j, SCORE_PITCH);
}

/* Scores to weights, in place, of the page's first `seen` positions (0: the lane's query sees
 * none). Puts what earlier sums shrink by on the diagonal; true if any of the simdgroup's queries
 * shrink. */
static inline bool weigh_scores(threadgroup float *scores, int seen, float scale, int lane,
                                thread prefill_state &state)
{
    const int row = lane / 4;
    threadgroup float *s = scores + row * SCORE_PITCH;
    float x[PAGE_POSITIONS / 4], maximum = state.maximum, sum = 0.0f;
#pragma clang loop unroll(full)
    for (int i = 0; i < PAGE_POSITIONS / 4; i++) {
        const int at = lane % 4 + 4 * i;
        x[i] = at < seen ? s[at] * scale : -INFINITY;
        maximum = fmax(maximum, x[i]);
    }
    maximum = fmax(maximum, simd_shuffle_xor(maximum, (ushort)1));
    maximum = fmax(maximum, simd_shuffle_xor(maximum, (ushort)2));
#pragma clang loop unroll(full)
    for (int i = 0; i < PAGE_POSITIONS / 4; i++) {
        const float weight = softmax_weight(x[i], maximum);
        s[lane % 4 + 4 * i] = weight;
        sum += weight;
    }
    const float shrink = state.maximum == maximum ? 1.0f : softmax_weight(state.maximum, maximum);
    if (lane % 4 == 0) s[PAGE_POSITIONS + row] = shrink;
    state.sum = fma(state.sum, shrink, sum);
    state.maximum = maximum;
    return simd_any(shrink != 1.0f);
}

/* The output's rows times the diagonal. */
static inline void shrink_output(threadgroup const float *scores, thread prefill_state &state)
{
    simdgroup_float8x8 diagonal, before;
    simdgroup_load(diagonal, scores + PAGE_POSITIONS, SCORE_PITCH);
#pragma clang loop unroll(full)
    for (int i = 0; i < DIM_TILES; i++)
        if (8 * i < HEAD_DIM) {
            before = state.out[i];
            simdgroup_multiply(state.out[i], diagonal, before);
        }
}

/* Adds the weights' product with a page's values. */
static inline void mix_values(kv_head page, int n, bool sees, threadgroup float *stage,
                              int thread_index, threadgroup const float *scores,
                              thread prefill_state &state)
{
    simdgroup_float8x8 weights[PAGE_TILES], value;
    if (sees)
#pragma clang loop unroll(full)
        for (int j = 0; j < PAGE_TILES; j++)
            simdgroup_load(weights[j], scores + 8 * j, SCORE_PITCH);
#pragma clang loop unroll(full)
    for (int c = 0; c < CHUNKS; c++)
        if (c * STAGE_DIMS < HEAD_DIM) {
            threadgroup_barrier(mem_flags::mem_threadgroup);
            stage_values(page, n, c, stage, thread_index);
            threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma clang loop unroll(full)
            for (int i = 0; i < CHUNK_TILES; i++)
                if (c * STAGE_DIMS + 8 * i < HEAD_DIM && sees)
#pragma clang loop unroll(full)
                    for (int j = 0; j < PAGE_TILES; j++) {
                        simdgroup_load(value, stage + 8 * j * VALUE_PITCH + 8 * i, VALUE_PITCH);
                        simdgroup_multiply_accumulate(state.out[c * CHUNK_TILES + i], weights[j],
                                                      value, state.out[c * CHUNK_TILES + i]);
                    }
        }
}

/* The output's first n rows, divided by their sums of weights, to y: 32 dimensions at a time
 * through `scores`. y: the first query's output, rows `row_floats` apart. */
static inline void write_rows(device float *y, uint row_floats, int n, threadgroup float *scores,
                              int lane, thread prefill_state &state)
{
    float sum = state.sum + simd_shuffle_xor(state.sum, (ushort)1);
    sum += simd_shuffle_xor(sum, (ushort)2);
    simdgroup_barrier(mem_flags::mem_threadgroup); /* `scores` have been read */
    if (lane % 4 == 0) scores[lane / 4 * SCORE_PITCH + PAGE_POSITIONS] = sum;
#pragma clang loop unroll(full)
    for (int first = 0; first < DIM_TILES; first += PAGE_TILES)
        if (8 * first < HEAD_DIM) {
            simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma clang loop unroll(full)
            for (int j = 0; j < PAGE_TILES; j++)
                if (8 * (first + j) < HEAD_DIM)
                    simdgroup_store(state.out[first + j], scores + 8 * j, SCORE_PITCH);
            simdgroup_barrier(mem_flags::mem_threadgroup);
            const int dim = 8 * first + lane;
            for (int row = 0; row < n; row++) {
                threadgroup const float *s = scores + row * SCORE_PITCH;
                if (dim < HEAD_DIM)
                    y[(uint)row * row_floats + (uint)dim] = s[lane] / s[PAGE_POSITIONS];
            }
        }
}

/* Buffers from 3: q [n_tokens, n_heads, head_dim], slabs, y. Grid: (n_heads, n_tiles). */
[[max_total_threads_per_threadgroup(PREFILL_THREADS)]] kernel void attention_prefill(
    constant step_args &step [[buffer(BUFFER_STEP)]],
    device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
    constant attention_args &args [[buffer(BUFFER_ARGS)]],
    device const float *queries [[buffer(BUFFER_OP)]],
    device const kv_slab *slabs [[buffer(BUFFER_OP + 1)]],
    device float *y [[buffer(BUFFER_OP + 2)]],
    uint2 group [[threadgroup_position_in_grid]],
    uint thread_of_group [[thread_index_in_threadgroup]],
    uint lane_of_simdgroup [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]])
{
    threadgroup float2 stage_pairs[STAGE_FLOATS / 2]; /* aligned for pairs */
    threadgroup float all_scores[PREFILL_SIMDGROUPS * SCORE_FLOATS];
    threadgroup float *stage = (threadgroup float *)stage_pairs;
    const int thread_index = (int)thread_of_group, lane = (int)lane_of_simdgroup;
    const int first_token = data[step.tiles + 2 * (int)group.y];
    const int n_tokens = data[step.tiles + 2 * (int)group.y + 1];
    const int head = (int)group.x, kv_index = head / (args.n_heads / args.n_kv_heads);
    const int first_position = position_of(step, data, first_token);
    device const int32_t *table = page_table_of(step, data, first_token);
    const size_t first_float = (size_t)(first_token * args.n_heads + head) * (uint)HEAD_DIM;
    const uint row_floats = (uint)(args.n_heads * HEAD_DIM);

    /* this simdgroup's queries: n from first_row on */
    const int first_row = (int)simdgroup * QUERY_ROWS, row = lane / 4;
    const int n = clamp(n_tokens - first_row, 0, (int)QUERY_ROWS);
    threadgroup float *scores = all_scores + (int)simdgroup * SCORE_FLOATS;
    for (int i = lane; i < 8 * QUERY_ROWS; i += SIMD_WIDTH)
        scores[i / 8 * SCORE_PITCH + PAGE_POSITIONS + i % 8] = 0.0f; /* beside the diagonal */

    prefill_state state;
    state.maximum = -INFINITY;
    state.sum = 0.0f;
#pragma clang loop unroll(full)
    for (int i = 0; i < DIM_TILES; i++)
        if (8 * i < HEAD_DIM) state.out[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    load_queries((device const float2 *)(queries + first_float), row_floats / 2, n_tokens,
                 first_row, stage, thread_index, state);

    for (int p = 0; p * PAGE_POSITIONS < first_position + n_tokens; p++) {
        const kv_head page = kv_head_of(slabs, args, table[p], kv_index);
        const int before = first_position - p * PAGE_POSITIONS; /* of the page, before the tile */
        const int filled = min(before + n_tokens, (int)PAGE_POSITIONS);
        const bool sees = n > 0 && before + first_row + n > 0;
        score_keys(page, filled, sees, stage, thread_index, scores, state);
        if (sees) {
            const int seen = row < n ? before + first_row + row + 1 : 0;
            simdgroup_barrier(mem_flags::mem_threadgroup);
            const bool shrinks = weigh_scores(scores, seen, args.scale, lane, state);
            simdgroup_barrier(mem_flags::mem_threadgroup);
            if (shrinks) shrink_output(scores, state);
        }
        mix_values(page, filled, sees, stage, thread_index, scores, state);
    }
    write_rows(y + first_float + (size_t)first_row * row_floats, row_floats, n, scores, lane,
               state);
}
