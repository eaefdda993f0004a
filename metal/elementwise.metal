/* The ops that treat every element alike: add, mul, scale, silu, gelu, sigmoid, tanh, relu.
 *
 * One thread an element, of rows of `width` floats: threads along x, rows along y. Neighbouring
 * threads read and write neighbouring floats, 128 bytes a simdgroup, each once; there is nothing
 * else to win in kernels that do one operation for 8 or 12 bytes of traffic. What wins is not
 * running them: in fused programs they are part of a matrix kernel, and only traces of unfused ones
 * come here.
 *
 * Buffers from 3: x y, or a b y. The names are those of the ops; the functions have others, since
 * some names (tanh) are taken by metal_stdlib.
 */
#include "activation.h"
#include "kernel_args.h"
using namespace metal;

#define ELEMENT_KERNEL(name) \
    [[host_name(#name), max_total_threads_per_threadgroup(ELEMENT_THREADS)]] kernel void op_##name

#define UNARY(name, result)                                                                        \
    ELEMENT_KERNEL(name)(constant element_args &args [[buffer(BUFFER_ARGS)]],                      \
                         device const float *in [[buffer(BUFFER_OP)]],                             \
                         device float *out [[buffer(BUFFER_OP + 1)]],                              \
                         uint2 place [[thread_position_in_grid]])                                  \
    {                                                                                              \
        if (place.x >= (uint)args.width) return;                                                   \
        const size_t i = (size_t)place.y * (uint)args.width + place.x;                             \
        const float x = in[i];                                                                     \
        out[i] = result;                                                                           \
    }

#define BINARY(name, result)                                                                       \
    ELEMENT_KERNEL(name)(constant element_args &args [[buffer(BUFFER_ARGS)]],                      \
                         device const float *first [[buffer(BUFFER_OP)]],                          \
                         device const float *second [[buffer(BUFFER_OP + 1)]],                     \
                         device float *out [[buffer(BUFFER_OP + 2)]],                              \
                         uint2 place [[thread_position_in_grid]])                                  \
    {                                                                                              \
        if (place.x >= (uint)args.width) return;                                                   \
        const size_t i = (size_t)place.y * (uint)args.width + place.x;                             \
        const float a = first[i], b = second[i];                                                   \
        out[i] = result;                                                                           \
    }

BINARY(add, a + b)
BINARY(mul, a * b)
UNARY(scale, x * args.scale)
UNARY(silu, silu(x))
UNARY(gelu, gelu(x))
UNARY(sigmoid, 1.0f / (1.0f + precise::exp(-x)))
UNARY(tanh, precise::tanh(x))
UNARY(relu, x < 0.0f ? 0.0f : x) /* a NaN stays one */

#undef UNARY
#undef BINARY
#undef ELEMENT_KERNEL
