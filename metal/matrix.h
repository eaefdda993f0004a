/* What matvec and matmul share: their arguments, the matrix that a threadgroup works on, the gate.
 */
#ifndef SMELT_MATRIX_H
#define SMELT_MATRIX_H

#include "activation.h"
#include "constants.h"
#include "formats.h"

/* Gate and up make one output together. */
constant bool HAS_OUTPUT_1 = HAS_MATRIX_1 && GATE == GATE_NONE;
constant bool HAS_OUTPUT_2 = HAS_MATRIX_2 && GATE == GATE_NONE;

/* x [rows, n_in]; matrix i [n_out[i], n_in] in FORMAT_i; bias i [n_out[i]]; residual, of the first
 * matrix, and y i [rows, n_out[i]]. */
#define MATRIX_ARGUMENTS                                                                           \
    constant step_args &step [[buffer(BUFFER_STEP)]],                                              \
        constant matmul_args &args [[buffer(BUFFER_ARGS)]],                                        \
        device const float *x [[buffer(MATRIX_X)]],                                                \
        device const uint8_t *w0 [[buffer(MATRIX_W)]],                                             \
        device const uint8_t *w1 [[buffer(MATRIX_W + 1), function_constant(HAS_MATRIX_1)]],        \
        device const uint8_t *w2 [[buffer(MATRIX_W + 2), function_constant(HAS_MATRIX_2)]],        \
        device const float *b0 [[buffer(MATRIX_B), function_constant(HAS_BIAS_0)]],                \
        device const float *b1 [[buffer(MATRIX_B + 1), function_constant(HAS_BIAS_1)]],            \
        device const float *b2 [[buffer(MATRIX_B + 2), function_constant(HAS_BIAS_2)]],            \
        device const float *residual [[buffer(MATRIX_RESIDUAL), function_constant(HAS_RESIDUAL)]], \
        device float *y0 [[buffer(MATRIX_Y)]],                                                     \
        device float *y1 [[buffer(MATRIX_Y + 1), function_constant(HAS_OUTPUT_1)]],                \
        device float *y2 [[buffer(MATRIX_Y + 2), function_constant(HAS_OUTPUT_2)]]

/* Matrix i of these arguments; one that is not bound is not named. */
#define MATRIX(i)                                                                                  \
    matrix_at(i, args, w0, HAS_MATRIX_1 ? w1 : w0, HAS_MATRIX_2 ? w2 : w0, HAS_BIAS_0 ? b0 : x,    \
              HAS_BIAS_1 ? b1 : x, HAS_BIAS_2 ? b2 : x, y0, HAS_OUTPUT_1 ? y1 : y0,                \
              HAS_OUTPUT_2 ? y2 : y0)

struct weight_matrix {
    int format;
    uint n_out;
    uint row_bytes;
    device const uint8_t *weights;
    bool has_bias;
    device const float *bias;
    device float *y;
};

template <typename T> static inline T pick(int i, T first, T second, T third)
{
    return i == 0 ? first : i == 1 ? second : third;
}

static inline weight_matrix matrix_at(int i, constant matmul_args &args, device const uint8_t *w0,
                                      device const uint8_t *w1, device const uint8_t *w2,
                                      device const float *b0, device const float *b1,
                                      device const float *b2, device float *y0, device float *y1,
                                      device float *y2)
{
    weight_matrix m;
    m.format = pick(i, FORMAT_0, FORMAT_1, FORMAT_2);
    m.n_out = (uint)args.n_out[i];
    m.row_bytes = (uint)args.row_bytes[i];
    m.weights = pick(i, w0, w1, w2);
    m.has_bias = pick(i, HAS_BIAS_0, HAS_BIAS_1, HAS_BIAS_2);
    m.bias = pick(i, b0, b1, b2);
    m.y = pick(i, y0, y1, y2);
    return m;
}

/* The matrix of a threadgroup, and the first group that works on it. */
static inline int matrix_of_group(constant matmul_args &args, uint group, thread uint &first_group)
{
    int i = 0;
    if (HAS_OUTPUT_1 && group >= (uint)args.end[0]) i = 1;
    if (HAS_OUTPUT_2 && group >= (uint)args.end[1]) i = 2;
    first_group = i == 0 ? 0u : (uint)args.end[i - 1];
    return i;
}

static inline uint rows_of(constant step_args &step, constant matmul_args &args)
{
    return (uint)(args.rows == ROWS_OF_LOGITS ? step.n_logits : step.n_tokens);
}

/* Whether code for a format belongs into this pipeline. Which format a threadgroup's matrix has
 * is known only as it runs, but those that no matrix has go when the constants are put in. */
template <int format> static inline bool is_used()
{
    return FORMAT_0 == format || (HAS_MATRIX_1 && FORMAT_1 == format)
           || (HAS_MATRIX_2 && FORMAT_2 == format);
}

static inline bool uses_table()
{
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes)                                  \
    if (reader_##name::HAS_TABLE && is_used<FORMAT_##NAME>()) return true;
#include "../native/formats.def"
    return false;
}

static inline float gated(float gate, float up)
{
    return (GATE == GATE_GELU ? gelu(gate) : silu(gate)) * up;
}

#endif
