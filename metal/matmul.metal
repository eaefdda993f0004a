/* matmul: y = x W^T [+ b] [+ r] for many rows of x, the kernel of prefill.
 *
 * A threadgroup of four simdgroups computes a tile of MATMUL_TOKENS (32) rows by MATMUL_OUTS (64)
 * outputs, in steps of STEP (32) along n_in. In a step its threads decode 64 x 32 weights into
 * threadgroup memory (each one run of sixteen of one output) and copy 32 x 32 of x beside them;
 * then each simdgroup multiplies 16 rows by 32 outputs as 2 x 4 simdgroup matrices of 8 x 8,
 * whose sums it keeps in registers.
 *
 * Roofline. A step has 64 * 32 * 32 = 65,536 multiply-adds, 512 cycles of a core at its best (128
 * a cycle). It reads 1,152 bytes of Q4_K weights and 4,096 of x, together 10 bytes a cycle; the
 * weights come from memory once for 32 rows, x comes from the L2 cache (every threadgroup of the
 * same rows reads the same). A simdgroup loads 6 matrices for 8 products, so 24,576 bytes of
 * threadgroup memory are read for a step, 48 a cycle. So arithmetic is the limit; decoding, 16
 * weights a thread, adds about 100 cycles to the 512. 64 rows a tile would halve that and double
 * the registers.
 *
 * Tiles are float32 and so are the matrices: weights have the bits of the decoder, x is not
 * rounded. On M1 and M2 half matrices multiply no faster (102.5 against 101.7 multiply-adds a
 * cycle and core, github.com/philipturner/metal-benchmarks); tiles of halves would halve the
 * traffic and the size of threadgroup memory, for an error of 2^-11 in each x and w.
 *
 * Banks, taken to be 32 of 4 bytes, which Apple does not say. Rows of a tile are 8 floats longer
 * than they need be: 72 and 40 are 8 modulo 32, so that the 8 x 8 floats of a matrix, whose rows
 * lie a tile's row apart, fall on all banks evenly.
 * W's tile lies [n_in][n_out]: the lanes that decode neighbouring outputs store to neighbouring
 * floats, and it is loaded without transposition.
 *
 * Gate: half the tile's outputs are of the gate, half of up, the same 32 of both, so a
 * threadgroup has the two numbers of each output, and nothing else changes.
 *
 * Rows and outputs beyond the last are computed with zeros or with the last output's weights and
 * not stored. An element's sum is made in the same order wherever in a tile it lies.
 *
 * The scheme, tile and simdgroup shapes too, is that of llama.cpp's kernel_mul_mm.
 */
#include "matrix.h"
using namespace metal;

enum {
    MATMUL_STEP = 32,
    MATMUL_W_STRIDE = MATMUL_OUTS + 8,
    MATMUL_X_STRIDE = MATMUL_STEP + 8,
    MATMUL_W_TILE = MATMUL_STEP * MATMUL_W_STRIDE,
    MATMUL_X_TILE = MATMUL_TOKENS * MATMUL_X_STRIDE,
};

/* Sixteen weights of one row, from `first` on, to a column of W's tile. */
template <typename F>
static inline void matmul_decode(device const uint8_t *row, uint first, uint n_in,
                                 threadgroup const half *table, threadgroup float *column)
{
    UNROLL
    for (uint part = 0; part < 16 / F::RUN; part++) {
        float4 weights[F::RUN / 4];
        decode_run<F>(row, first / F::RUN + part, n_in, table, weights);
        UNROLL
        for (uint i = 0; i < F::RUN; i++)
            column[(part * F::RUN + i) * MATMUL_W_STRIDE] = weights[i / 4][i % 4];
    }
}

static inline void matmul_decode_any(int format, device const uint8_t *row, uint first, uint n_in,
                                     threadgroup const half *table, threadgroup float *column)
{
    switch (format) {
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes)                                  \
    case FORMAT_##NAME:                                                                            \
        if (is_used<FORMAT_##NAME>())                                                              \
            matmul_decode<reader_##name>(row, first, n_in, table, column);                         \
        break;
#include "../native/formats.def"
    }
}

/* A step's part of x; zeros past its last row and column. Eight threads copy a row. */
static inline void matmul_copy_x(device const float *x, uint first_row, uint n_rows, uint first,
                                 uint n_in, uint thread_index, threadgroup float *tile)
{
    const uint column = 4 * (thread_index % 8), from = first + column;
    for (uint row = thread_index / 8; row < MATMUL_TOKENS; row += MATMUL_THREADS / 8) {
        float4 v = 0.0f;
        if (first_row + row < n_rows && from < n_in) {
            device const float *p = x + (size_t)(first_row + row) * n_in + from;
            if (from + 4 <= n_in) {
                v = float4(*(device const packed_float4 *)p);
            } else {
                v.x = p[0];
                if (from + 1 < n_in) v.y = p[1];
                if (from + 2 < n_in) v.z = p[2];
            }
        }
        *(threadgroup float4 *)(tile + row * MATMUL_X_STRIDE + column) = v;
    }
}

/* What a simdgroup computes: 16 rows by 32 outputs. */
struct matmul_sums {
    simdgroup_float8x8 of[2][4];
};

static inline void matmul_multiply(threadgroup const float *x_tile, threadgroup const float *w_tile,
                                   thread matmul_sums &sums)
{
    UNROLL
    for (uint k = 0; k < MATMUL_STEP; k += 8) {
        simdgroup_float8x8 x[2], w[4];
        UNROLL
        for (uint i = 0; i < 2; i++)
            simdgroup_load(x[i], x_tile + 8 * i * MATMUL_X_STRIDE + k, MATMUL_X_STRIDE);
        UNROLL
        for (uint j = 0; j < 4; j++)
            simdgroup_load(w[j], w_tile + k * MATMUL_W_STRIDE + 8 * j, MATMUL_W_STRIDE);
        UNROLL
        for (uint i = 0; i < 2; i++) {
            UNROLL
            for (uint j = 0; j < 4; j++)
                simdgroup_multiply_accumulate(sums.of[i][j], x[i], w[j], sums.of[i][j]);
        }
    }
}

static inline void matmul_store(const thread matmul_sums &sums, threadgroup float *tile)
{
    UNROLL
    for (uint i = 0; i < 2; i++) {
        UNROLL
        for (uint j = 0; j < 4; j++)
            simdgroup_store(sums.of[i][j], tile + 8 * i * MATMUL_W_STRIDE + 8 * j,
                            MATMUL_W_STRIDE);
    }
}

/* The sum at `tile` with bias and gate. */
static inline float matmul_output(threadgroup const float *tile, weight_matrix m, weight_matrix up,
                                  uint out)
{
    float y = tile[0];
    if (m.has_bias) y += m.bias[out];
    if (GATE == GATE_NONE) return y;
    float u = tile[MATMUL_GATE_OUTS];
    if (up.has_bias) u += up.bias[out];
    return gated(y, u);
}

[[max_total_threads_per_threadgroup(MATMUL_THREADS)]] kernel void matmul(
    MATRIX_ARGUMENTS,
    uint2 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]],
    uint simdgroup_index [[simdgroup_index_in_threadgroup]])
{
    threadgroup float4 memory[(MATMUL_W_TILE + MATMUL_X_TILE) / 4];
    threadgroup half table[TABLE_LEVELS];
    if (uses_table()) fill_table(table, thread_index);

    uint first_group;
    const weight_matrix m = MATRIX(matrix_of_group(args, group.x, first_group)), up = MATRIX(1);
    const uint outs = GATE == GATE_NONE ? MATMUL_OUTS : MATMUL_GATE_OUTS;
    const uint first_out = (group.x - first_group) * outs, first_row = group.y * MATMUL_TOKENS;
    const uint n_in = (uint)args.n_in, n_rows = rows_of(step, args);

    /* What this thread decodes: a column of W's tile, and the first or second half of it. */
    const uint column = thread_index % MATMUL_OUTS, half_step = thread_index / MATMUL_OUTS * 16;
    const weight_matrix own = column < outs ? m : up;
    const uint own_out = min(first_out + column % outs, own.n_out - 1);
    device const uint8_t *weights = own.weights + (size_t)own_out * own.row_bytes;

    /* What this simdgroup computes: 16 rows and 32 columns of the tile from these on. */
    const uint tile_row = simdgroup_index / 2 * 16, tile_out = simdgroup_index % 2 * 32;
    threadgroup float *w_tile = (threadgroup float *)memory, *x_tile = w_tile + MATMUL_W_TILE;
    matmul_sums sums;
    UNROLL
    for (uint i = 0; i < 2; i++) {
        UNROLL
        for (uint j = 0; j < 4; j++) sums.of[i][j] = simdgroup_float8x8(0.0f);
    }
    for (uint first = 0; first < n_in; first += MATMUL_STEP) {
        threadgroup_barrier(mem_flags::mem_threadgroup); /* the tiles may still be read */
        matmul_decode_any(own.format, weights, first + half_step, n_in, table,
                          w_tile + half_step * MATMUL_W_STRIDE + column);
        matmul_copy_x(x, first_row, n_rows, first, n_in, thread_index, x_tile);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        matmul_multiply(x_tile + tile_row * MATMUL_X_STRIDE, w_tile + tile_out, sums);
    }

    /* The sums go where W's tile was, [row][output], and from there coalesced to memory. */
    threadgroup_barrier(mem_flags::mem_threadgroup);
    matmul_store(sums, w_tile + tile_row * MATMUL_W_STRIDE + tile_out);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < MATMUL_TOKENS * outs; i += MATMUL_THREADS) {
        const uint row = first_row + i / outs, out = first_out + i % outs;
        if (row >= n_rows || out >= m.n_out) continue;
        const float y = matmul_output(w_tile + i / outs * MATMUL_W_STRIDE + i % outs, m, up, out);
        const size_t at = (size_t)row * m.n_out + out;
        m.y[at] = HAS_RESIDUAL ? y + residual[at] : y;
    }
}
