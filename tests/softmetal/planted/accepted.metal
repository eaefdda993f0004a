// MSL that the front end has to take: what kernels may use, in one text.
#include <metal_stdlib>
using namespace metal;

#pragma METAL fp contract(off)
constant float levels[4] = {1, 2.5, -3, 4};
constant constexpr int WIDTH = 4;
static constant constexpr float SCALE = 0.5;
constant int MODE [[function_constant(0)]];
constant bool WIDE = is_function_constant_defined(MODE) && MODE > 1;
enum class shape : ushort { flat, round };
typedef struct { half d; uchar qs[6]; } block;
struct args { int n; float eps; packed_float3 origin; };
union bits { float f; uint u; };
using f4 = vec<float, 4>;

template <typename T> struct traits {
    static constant constexpr int width = sizeof(T);
    static float scale(T x) { return float(x) * width; }
};

template <typename P> float first(P p) { return float(p[0]); }
template <int N> void fill(thread float (&v)[N], float x) { for (int i = 0; i < N; i++) v[i] = x; }
template <typename T> T load(device const void *p, int i) { return ((device const T *)p)[i]; }
inline float sum(thread const float *v, int n) { float s = 0; for (int i = 0; i < n; i++) s += v[i]; return s; }
inline void add(device float &y, float x) { y += x; }
inline device float *behind(device float *p, uint n) { return p + n; }
static inline block copy(device const block *p) { block b = p[1]; return b; }
static inline void store(device block *p, thread const block &b) { p[0] = b; *p = b; }
static inline float decode(threadgroup const half *p, constant float *table) { return p[0] * table[1]; }
bool is_odd(int n) { return n & 1; }

template <typename T, int N>
[[max_total_threads_per_threadgroup(WIDTH * 16)]] kernel void typed(
    device T *y [[buffer(0)]], constant args &a [[buffer(1)]], device const block *blocks [[buffer(2)]],
    device float *extra [[buffer(3), function_constant(WIDE)]], device atomic_uint *n [[buffer(4)]],
    threadgroup half *shared [[threadgroup(0)]], uint2 group [[threadgroup_position_in_grid]],
    ushort2 thread_place [[thread_position_in_threadgroup]], ushort lane [[thread_index_in_simdgroup]])
{
    threadgroup float table[N][8], one;
    threadgroup T *own = (threadgroup T *)shared;
    const constant args *p = &a;
    float v[N];
    fill(v, SCALE);
    table[0][lane % 8] = 1; one = 2;
    shared[lane] = 0.5h;
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    const block b = copy(blocks), c = blocks[2];
    block d; d = blocks[0]; (void)d;
    f4 f = f4(1, 2, float2(3, 4)).wzyx;
    float4 g = float4(f.xy, 0, 1) * 2.0 + 1;
    g.xy += f.zw; g = select(g, f, f < g); g = clamp(g, f4(0), f4(9));
    const float3 o = float3(a.origin);
    const uint bits = as_type<uint>(g.x), count = popcount(bits) + clz(bits);
    union bits u; u.f = 1;
    simdgroup_matrix<float, 8, 8> m = make_filled_simdgroup_matrix<float, 8, 8>(0), left, right(1);
    simdgroup_load(left, &table[0][0], 8, ulong2(0, 0), true);
    simdgroup_multiply_accumulate(m, left, right, m);
    m.thread_elements()[0] *= 2;
    for (uint i = 0; i < 4; ++i) { switch (MODE) { case 0: v[i % N] = 1; break; default: v[i % N] = levels[i]; } }
    if (a.n * N > 3 && !is_odd(a.n) & true) add(((device float *)extra)[0], first(blocks->qs) + first(shared));
    atomic_fetch_add_explicit(n, count & 1, memory_order_relaxed);
    y[group.x * 2] = T(sum(v, N) + traits<T>::scale(own[0]) + decode(shared, levels) + float(b.d + c.d) + o.z + p->eps
        + precise::exp(g.x) + fast::cos(g.y) + simd_sum(g.z) + fma(g.x, g.y, g.z) + u.u * 0 + INFINITY * 0.0f + one);
}
template [[host_name("typed_f2")]] kernel void typed<float, 2>(
    device float *, constant args &, device const block *, device float *, device atomic_uint *, threadgroup half *,
    uint2, ushort2, ushort);
template [[host_name("typed_h4")]] [[kernel]] decltype(typed<half, 4>) typed<half, 4>;
