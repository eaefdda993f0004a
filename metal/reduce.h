/* Sums and maxima over a threadgroup: each simdgroup by itself, then the simdgroups' results in
 * their order, so that the same inputs give the same bits every time.
 *
 * `partial` has room for a float a simdgroup, at most 32. All threads call, and all get the result.
 */
#ifndef SMELT_REDUCE_H
#define SMELT_REDUCE_H

#include "kernel_args.h"

static inline float threadgroup_sum(float x, threadgroup float *partial, uint thread_index,
                                    uint n_simdgroups)
{
    x = metal::simd_sum(x);
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup); /* `partial` may still be read */
    if (thread_index % SIMD_WIDTH == 0) partial[thread_index / SIMD_WIDTH] = x;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    const uint lane = thread_index % SIMD_WIDTH;
    return metal::simd_sum(lane < n_simdgroups ? partial[lane] : 0.0f);
}

static inline float threadgroup_max(float x, threadgroup float *partial, uint thread_index,
                                    uint n_simdgroups)
{
    x = metal::simd_max(x);
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    if (thread_index % SIMD_WIDTH == 0) partial[thread_index / SIMD_WIDTH] = x;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    const uint lane = thread_index % SIMD_WIDTH;
    return metal::simd_max(lane < n_simdgroups ? partial[lane] : -INFINITY);
}

#endif
