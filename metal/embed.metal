/* embed: row i of y is row token_ids[i] of the table, decoded.
 *
 * A thread decodes a run of weights, which share a scale: sixteen, or four of a float format; so
 * of the threads of a group, which covers ELEMENT_THREADS elements, one in sixteen or four has
 * work. That is little, and so is the work: a few kilobytes a token, less than the dispatch
 * itself costs. The result has the bits of the decoder in C.
 *
 * Buffers from 3: table [n_vocab, width] in FORMAT_0, y.
 */
#include "constants.h"
#include "formats.h"
#include "step.h"
using namespace metal;

template <typename F>
static inline void embed_run(device const uint8_t *row, uint run, uint width,
                             threadgroup const half *table, device float *y)
{
    const uint first = run * F::RUN;
    if (first >= width) return;
    float4 weights[F::RUN / 4];
    decode_run<F>(row, run, width, table, weights);
    UNROLL
    for (uint i = 0; i < F::RUN; i++)
        if (first + i < width) y[first + i] = weights[i / 4][i % 4];
}

[[max_total_threads_per_threadgroup(ELEMENT_THREADS)]] kernel void embed(
    constant step_args &step [[buffer(BUFFER_STEP)]],
    device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
    constant element_args &args [[buffer(BUFFER_ARGS)]],
    device const uint8_t *table [[buffer(BUFFER_OP)]],
    device float *out [[buffer(BUFFER_OP + 1)]],
    uint2 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]])
{
    threadgroup half levels[TABLE_LEVELS];
    fill_table(levels, thread_index);
    threadgroup_barrier(mem_flags::mem_threadgroup);

    const uint width = (uint)args.width;
    const int token = data[step.token_ids + (int)group.y];
    device const uint8_t *row = table + (size_t)token * (size_t)args.row_bytes;
    device float *y = out + (size_t)group.y * width;
    switch (FORMAT_0) {
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes)                                  \
    case FORMAT_##NAME: {                                                                          \
        const uint runs = ELEMENT_THREADS / reader_##name::RUN;                                    \
        if (thread_index < runs)                                                                   \
            embed_run<reader_##name>(row, group.x * runs + thread_index, width, levels, y);        \
        break;                                                                                     \
    }
#include "../native/formats.def"
    }
}
