#include <metal_stdlib>
using namespace metal;

constant int bias [[function_constant(0)]];
constant bool has_z [[function_constant(1)]];
constant float factor [[function_constant(2)]];

kernel void axpy(constant float &a [[buffer(0)]], device const float *x [[buffer(1)]],
                 device float *y [[buffer(2)]],
                 device const float *z [[buffer(3), function_constant(has_z)]],
                 uint i [[thread_position_in_grid]])
{
    float sum = a * x[i] + y[i] + float(bias);
    if (has_z) sum += z[i];
    y[i] = sum;
}

/* A struct of 32 bytes as an argument. */
struct wide {
    float4 first, second;
};
kernel void take_struct(constant wide &w [[buffer(0)]], device float *y [[buffer(1)]])
{
    y[0] = w.second.w;
}

/* Elements of one byte, and of sixteen. */
kernel void widen(device const uchar *x [[buffer(0)]], device float4 *y [[buffer(1)]],
                  uint i [[thread_position_in_grid]])
{
    y[i] = float4(x[i]);
}

kernel void scaled(device float *y [[buffer(0)]], uint i [[thread_position_in_grid]])
{
    y[i] *= factor;
}

kernel void beyond(device float *y [[buffer(0)]], uint i [[thread_position_in_grid]])
{
    y[i + 1000000] = 1.0f;
}

kernel void reversed(device float *y [[buffer(0)]], threadgroup float *shared [[threadgroup(0)]],
                     uint i [[thread_position_in_threadgroup]],
                     uint n [[threads_per_threadgroup]])
{
    shared[i] = y[i];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    y[i] = shared[n - 1 - i];
}

kernel void with_two(device float *y [[buffer(0)]], threadgroup float *a [[threadgroup(0)]],
                     threadgroup float *b [[threadgroup(1)]],
                     uint i [[thread_position_in_threadgroup]])
{
    a[i] = b[i] = y[i];
}

[[max_total_threads_per_threadgroup(64)]] kernel void narrow(device float *y [[buffer(0)]],
                                                             uint i [[thread_position_in_grid]])
{
    y[i] = 64.0f;
}

/* Steps of a chain: each has to see what the one before it wrote. */
kernel void twice(device float *y [[buffer(0)]], uint i [[thread_position_in_grid]])
{
    y[i] = 2.0f * y[i];
}
kernel void plus_one(device float *y [[buffer(0)]], uint i [[thread_position_in_grid]])
{
    y[i] = y[i] + 1.0f;
}

struct page {
    device float *values;
};
kernel void through_address(device const page *table [[buffer(0)]], device float *y [[buffer(1)]],
                            uint i [[thread_position_in_grid]])
{
    y[i] = table[0].values[i];
}
