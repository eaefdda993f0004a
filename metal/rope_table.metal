/* rope_table: cos and sin of every token's angle for every pair of dimensions, once a step, for all
 * layers (RoPE: Su et al. 2021, arXiv:2104.09864).
 *
 * The angle of position p and pair i is 2 pi frac(p t_i), where t_i is the part of a turn that a
 * position advances. At position 100,000 a float32 angle of some thousand turns would be off by a
 * hundredth of a radian, and GPUs have no double. So t comes as the sum of two floats, 48 bits, and
 * whole turns are taken off the exact product, by a fused multiply-add, before anything is
 * rounded: what is left is below one, and so right to 1e-7 for all p up to 2^24.
 *
 * One thread a pair and token. Buffers from 3: turns [n_pairs] (hi, lo), table [n_tokens, n_pairs]
 * (cos, sin), both times `scale`.
 */
#include "step.h"
using namespace metal;

kernel void rope_table(constant step_args &step [[buffer(BUFFER_STEP)]],
                       device const int32_t *data [[buffer(BUFFER_STEP_DATA)]],
                       constant rope_table_args &args [[buffer(BUFFER_ARGS)]],
                       device const float2 *turns_a_position [[buffer(BUFFER_OP)]],
                       device float2 *table [[buffer(BUFFER_OP + 1)]],
                       uint2 place [[thread_position_in_grid]])
{
    const uint pair = place.x, token = place.y, n_pairs = (uint)args.n_pairs;
    if (pair >= n_pairs) return;
    const float position = (float)position_of(step, data, (int)token);
    const float2 t = turns_a_position[pair]; /* hi, lo */
    const float whole = rint(position * t.x);
    const float half_turns = 2.0f * fma(position, t.y, fma(position, t.x, -whole));
    table[(size_t)token * n_pairs + pair] =
        float2(precise::cospi(half_turns), precise::sinpi(half_turns)) * args.scale;
}
