/* matvec: y = x W^T [+ b] [+ r] for one to eight rows of x, the kernel of decoding.
 *
 * Every weight is read once from memory and used for TOKENS rows, so the limit is memory's
 * bandwidth, as long as the work on a weight stays within the time it takes to arrive
 * (packing_metal.h).
 *
 * - A simdgroup computes MATVEC_ROWS outputs. Its lanes go along these rows of W together, so
 *   that neighbours read neighbouring bytes; a lane takes the runs of weights whose codes share
 *   bytes (formats.h), of all four rows: what is read of x, and made of it, serves four. x comes
 *   from the caches: 4 bytes for four weights, which are 2.25 bytes of memory in Q4_K; the caches
 *   give a core seven times what memory gives it.
 * - Codes are multiplied as whole numbers; a run's scale and minimum enter once:
 *   sum of x w = scale (sum of x q) + addend (sum of x)
 *   With all that a weight of Q4_K costs a lane about six cycles.
 * - Norm: y = sum of (x g) w / rms(x), and the lanes see all of x anyway. Every simdgroup adds up
 *   the squares beside the products and divides in the end: no pass before, no barrier.
 * - Gate: the same outputs of two matrices, one after the other, and y = act(gate) up.
 * - simd_sum adds the lanes' sums; lane r + MATVEC_ROWS t keeps that of row r and token t, adds
 *   bias and residual, and stores it.
 *
 * A token meets the same operations in the same order for every TOKENS, so its bits do not depend
 * on who shares the reading. Where there are fewer rows than TOKENS the last is computed again
 * and not stored.
 *
 * Lanes that share a row, four rows a simdgroup and sums of x factored out are as in llama.cpp's
 * kernel_mul_mv_* and MLX's qmv_fast.
 */
#include "matrix.h"
#include "step.h"
using namespace metal;

template <int T> struct matvec_operands {
    device const uint8_t *rows[MATVEC_ROWS];
    device const float *x[T];
    device const float *gain; /* if HAS_NORM */
    uint n_in;
};

/* Of this lane, then of all. */
template <int T> struct matvec_sums {
    float products[MATVEC_ROWS][T];
    float squares[T];
};

static inline float matvec_sum_of_4(float4 v) { return (v.x + v.y) + (v.z + v.w); }

/* A run of MATVEC_ROWS rows times T tokens. */
template <typename F, int T>
static inline void matvec_run(const thread matvec_operands<T> &in, uint run,
                              threadgroup const half *table, thread matvec_sums<T> &sums)
{
#pragma STDC FP_CONTRACT OFF /* fused is what says fma, for every T */
    typename F::level4 levels[MATVEC_ROWS][F::RUN / 4];
    float2 scales[MATVEC_ROWS];
    UNROLL
    for (int r = 0; r < MATVEC_ROWS; r++) {
        F::levels(in.rows[r], run, table, levels[r]);
        scales[r] = F::scale(in.rows[r], run);
    }
    const uint first = run * F::RUN;
    UNROLL
    for (int t = 0; t < T; t++) {
        float4 products[MATVEC_ROWS], sum = 0.0f, squares = 0.0f;
        UNROLL
        for (int i = 0; i < F::RUN / 4; i++) {
            float4 v = float4(*(device const packed_float4 *)(in.x[t] + first + 4 * i));
            if (HAS_NORM) {
                squares = fma(v, v, squares);
                v *= float4(*(device const packed_float4 *)(in.gain + first + 4 * i));
            }
            if (F::HAS_ADDEND) sum += v;
            UNROLL
            for (int r = 0; r < MATVEC_ROWS; r++)
                products[r] = i == 0 ? float4(levels[r][0]) * v
                                     : fma(float4(levels[r][i]), v, products[r]);
        }
        if (HAS_NORM) sums.squares[t] += matvec_sum_of_4(squares);
        const float total = matvec_sum_of_4(sum);
        UNROLL
        for (int r = 0; r < MATVEC_ROWS; r++) {
            const float product = matvec_sum_of_4(products[r]);
            thread float &y = sums.products[r][t];
            y = F::HAS_SCALE ? fma(scales[r].x, product, y) : y + product;
            if (F::HAS_ADDEND) y = fma(scales[r].y, total, y);
        }
    }
}

/* The weights behind a row's last whole run, at most three, of a float format: a lane each. */
template <typename F, int T>
static inline void matvec_rest(const thread matvec_operands<T> &in, uint lane,
                               thread matvec_sums<T> &sums)
{
    const uint i = in.n_in / F::RUN * F::RUN + lane;
    if (i >= in.n_in) return;
    UNROLL
    for (int t = 0; t < T; t++) {
        float v = in.x[t][i];
        if (HAS_NORM) {
            sums.squares[t] = fma(v, v, sums.squares[t]);
            v *= in.gain[i];
        }
        UNROLL
        for (int r = 0; r < MATVEC_ROWS; r++)
            sums.products[r][t] = fma(F::element(in.rows[r], i), v, sums.products[r][t]);
    }
}

/* What this lane has to add. Lanes take LANE_RUNS runs each in turn. */
template <typename F, int T>
static inline void matvec_lane(const thread matvec_operands<T> &in, uint lane,
                               threadgroup const half *table, thread matvec_sums<T> &sums)
{
    const uint turns = in.n_in / (F::RUN * F::LANE_RUNS);
    for (uint turn = lane; turn < turns; turn += SIMD_WIDTH) {
        const uint first = turn / F::RUN_STRIDE * (F::RUN_STRIDE * F::LANE_RUNS)
                           + turn % F::RUN_STRIDE;
        if (T <= 2) { /* unrolled, the places of fields are constants of the code */
            UNROLL
            for (uint i = 0; i < F::LANE_RUNS; i++)
                matvec_run<F, T>(in, first + i * F::RUN_STRIDE, table, sums);
        } else { /* which is worth less than to stay within 12 KiB, the cache of instructions */
            _Pragma("clang loop unroll(disable)")
            for (uint i = 0; i < F::LANE_RUNS; i++)
                matvec_run<F, T>(in, first + i * F::RUN_STRIDE, table, sums);
        }
    }
    if (F::BLOCK == 1) matvec_rest<F, T>(in, lane, sums);
}

/* W x of this lane's own row and token: MATVEC_ROWS outputs from `first` on, T tokens. */
template <int T>
static inline float matvec_product(weight_matrix m, uint first, thread matvec_operands<T> &in,
                                   float eps, uint lane, threadgroup const half *table)
{
    UNROLL
    for (uint r = 0; r < MATVEC_ROWS; r++)
        in.rows[r] = m.weights + (size_t)min(first + r, m.n_out - 1) * m.row_bytes;
    matvec_sums<T> sums = {};
    switch (m.format) {
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes)                                  \
    case FORMAT_##NAME:                                                                            \
        if (is_used<FORMAT_##NAME>()) matvec_lane<reader_##name, T>(in, lane, table, sums);        \
        break;
#include "../native/formats.def"
    }
    float product = 0.0f, squares = 0.0f;
    UNROLL
    for (uint t = 0; t < T; t++) {
        if (HAS_NORM) {
            const float all = simd_sum(sums.squares[t]);
            if (lane / MATVEC_ROWS == t) squares = all;
        }
        UNROLL
        for (uint r = 0; r < MATVEC_ROWS; r++) {
            const float all = simd_sum(sums.products[r][t]);
            if (lane == r + MATVEC_ROWS * t) product = all;
        }
    }
    return HAS_NORM ? product / precise::sqrt(squares / (float)in.n_in + eps) : product;
}

/* The same with bias and gate. `up` is looked at if there is a gate. */
template <int T>
static inline float matvec_output(weight_matrix m, weight_matrix up, uint first,
                                  constant step_args &step, device const int32_t *data,
                                  constant matmul_args &args, device const float *x,
                                  device const float *gain, uint lane,
                                  threadgroup const half *table)
{
    matvec_operands<T> in;
    in.gain = gain;
    in.n_in = (uint)args.n_in;
    const int last = (int)rows_of(step, args) - 1;
    UNROLL
    for (int t = 0; t < T; t++)
        in.x[t] = x + (size_t)input_row(step, data, min(t, last), SELECTED) * in.n_in;
    const uint row = min(first + lane % MATVEC_ROWS, m.n_out - 1);
    float y = 0.0f;
    _Pragma("clang loop unroll(disable)")
    for (int pass = 0; pass < (GATE == GATE_NONE ? 1 : 2); pass++) {
        const weight_matrix one = pass == 0 ? m : up;
        float product = matvec_product<T>(one, first, in, args.eps, lane, table);
        if (one.has_bias) product += one.bias[row];
        y = pass == 0 ? product : gated(y, product);
    }
    return y;
}

[[max_total_threads_per_threadgroup(SIMD_WIDTH * MATVEC_SIMDGROUPS)]] kernel void matvec(
    MATRIX_ARGUMENTS,
    device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
    device const float *gain [[buffer(MATRIX_GAIN), function_constant(HAS_NORM)]],
    uint group [[threadgroup_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup_index [[simdgroup_index_in_threadgroup]])
{
    threadgroup half table[TABLE_LEVELS];
    if (uses_table()) {
        fill_table(table, SIMD_WIDTH * simdgroup_index + lane);
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    uint first_group;
    const int i = matrix_of_group(args, group, first_group);
    const weight_matrix m = MATRIX(i), up = MATRIX(1);
    const uint first = ((group - first_group) * MATVEC_SIMDGROUPS + simdgroup_index) * MATVEC_ROWS;
    if (first >= m.n_out) return;

    device const float *g = HAS_NORM ? gain : x;
    float y = 0.0f;
    switch (TOKENS) {
    case 1: y = matvec_output<1>(m, up, first, step, data, args, x, g, lane, table); break;
    case 2: y = matvec_output<2>(m, up, first, step, data, args, x, g, lane, table); break;
    case 4: y = matvec_output<4>(m, up, first, step, data, args, x, g, lane, table); break;
    case 8: y = matvec_output<8>(m, up, first, step, data, args, x, g, lane, table); break;
    }
    const uint row = first + lane % MATVEC_ROWS, token = lane / MATVEC_ROWS;
    if (row >= m.n_out || token >= min((uint)TOKENS, rows_of(step, args))) return;
    const size_t at = (size_t)token * m.n_out + row;
    m.y[at] = HAS_RESIDUAL ? y + residual[at] : y;
}
