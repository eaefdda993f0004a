/* select: the rows of the tokens whose logits are wanted, packed.
 *
 * A copy: one thread an element, each read and written once. A fused program has none of it:
 * the last norm reads those rows where they are (CONSTANT_SELECTED).
 *
 * Buffers from 3: x [n_tokens, width], y [n_logits, width].
 */
#include "step.h"
using namespace metal;

[[host_name("select"), max_total_threads_per_threadgroup(ELEMENT_THREADS)]] kernel void op_select(
    constant step_args &step [[buffer(BUFFER_STEP)]],
    device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
    constant element_args &args [[buffer(BUFFER_ARGS)]],
    device const float *x [[buffer(BUFFER_OP)]],
    device float *y [[buffer(BUFFER_OP + 1)]],
    uint2 place [[thread_position_in_grid]])
{
    const uint i = place.x, width = (uint)args.width;
    if (i >= width) return;
    const int token = token_of_logits(step, data, (int)place.y);
    y[(size_t)place.y * width + i] = x[(size_t)token * width + i];
}
