"""The front end refuses what Apple's compiler refuses, by line, and takes what MSL allows."""

import pytest

from softmetal.msl import Library, MslError, available, unavailable_reason

pytestmark = pytest.mark.skipif(not available, reason=unavailable_reason)

HEAD = '#include <metal_stdlib>\nusing namespace metal;\n#line 1 "planted.metal"\n'
KERNEL = "kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])"


def refusals(text: str) -> list[str]:
    with pytest.raises(MslError) as caught:
        Library(HEAD + text)
    return str(caught.value).splitlines()


# Faults of a kernel's body, which begins on line 2.
BODIES = {
    "double": ("double d = y[t];", "no 'double'"),
    "long double": ("long double d = y[t];", "no 'double'"),
    "long double literal": ("y[t] = 1.0L;", "no 'long double'"),
    "static local": ("static int n = 0; y[t] = n;", "no static variables"),
    "exceptions": ("try { y[t] = 1; } catch (int) {}", "no exceptions: 'try'"),
    "throw": ("if (t) throw 1;", "no exceptions: 'throw'"),
    "new": ("thread int *p = new int; y[t] = *p;", "no 'new'"),
    "delete": ("thread int *p = 0; delete p;", "no 'delete'"),
    "goto": ("goto end;\nend: y[t] = 1;", "no 'goto'"),
    "label": ("end: y[t] = 1;", "no labels"),
    "lambda": ("auto f = [](int i) { return i; }; y[t] = f(1);", "no lambda"),
    "lambda argument": ("y[t] = int([=] { return t; }());", "no lambda"),
    "thread_local": ("thread_local int n = 0; y[t] = n;", "no 'thread_local'"),
    "register": ("register int n = 0; y[t] = n;", "no 'register'"),
    "noexcept": ("y[t] = noexcept(t + 1);", "no 'noexcept'"),
    "typeid": ("typeid(t);", "no 'typeid'"),
    "dynamic_cast": ("dynamic_cast<thread int *>(&t);", "no 'dynamic_cast'"),
    "asm": ('asm("nop");', "no 'asm'"),
    "standard library": ("y[t] = std::max(1, 2);", "'std::'"),
    "bare pointer": ("float *p = 0; y[t] = *p;", "a pointer names its address space"),
    "bare const pointer": ("const float *p = 0; y[t] = *p;", "a pointer names its address space"),
    "bare reference": ("float v = 1; float &r = v; y[t] = r;", "a reference names its address space"),
    "bare auto reference": ("auto &r = y[t]; r = 1;", "a reference names its address space"),
    "bare cast": ("y[t] = *(float *)&y[t];", "a pointer names its address space"),
    "bare pointer to a pointer": ("device float **p = 0; y[t] = **p;", "a pointer names its address space"),
    "bare pointer to a vector": ("vec<float, 4> *p = 0; y[t] = p->x;", "a pointer names its address space"),
    "device to thread": ("thread float *p = y; y[t] = *p;", "cannot initialize a variable of type 'float *'"),
    "thread to device": ("float v; device float *p = &v; y[t] = *p;", "device float"),
    "device to threadgroup": ("threadgroup float *p = y + 1; y[t] = *p;", "threadgroup float"),
    "device to thread reference": ("thread float &r = y[t]; r = 1;", "changes address space"),
    "cast between spaces": ("threadgroup float *p = (threadgroup float *)y; y[t] = *p;", "a cast from one"),
    "reinterpret_cast between spaces": (
        "y[t] = *reinterpret_cast<threadgroup float *>(y);", "reinterpret_cast from 'device float *'"
    ),
    "threadgroup variable in a block": ("if (t) { threadgroup float s[4]; s[0] = 1; }", "in an inner block"),
    "initialized threadgroup variable": ("threadgroup float s = 1; y[t] = s;", "cannot be initialized"),
    "variable length array": ("float v[t + 1]; y[t] = v[0];", "variable length array"),
    "write to constant memory": ("constant float *p = 0; p[0] = 1;", "not assignable"),
    "if constexpr": ("if constexpr (sizeof(int) == 4) y[t] = 1;", "C++17"),
    "structured binding": ("int v[2]; auto [a, b] = v; y[t] = a + b;", "C++17"),
    "vector of another width": ("float4 v = float3(1); y[t] = v.x;", "float4"),
    "vector with too many elements": ("y[t] = float2(1, 2, 3).x;", "too many elements for this vector"),
    "vector with too few elements": ("y[t] = float4(1, 2, 3).x;", "too few elements for this vector"),
    "min of two types": ("y[t] = min(t, 1);", "no matching function for call to 'min'"),
    "unknown name": ("y[t] = nonsense;", "undeclared identifier 'nonsense'"),
    "64-bit reduction": ("y[t] = simd_sum(ulong(t));", "at most 32 bits"),
    "bfloat": ("bfloat b = 1; y[t] = b;", "'bfloat' is of MSL 3.1"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BODIES)
def test_refused_in_a_body(fault: str) -> None:
    body, message = BODIES[fault]
    found = refusals(f"{KERNEL} {{\n{body}\n}}\n")
    assert any(line.startswith("planted.metal:2:") and message in line for line in found), found


# Faults of a whole text, with the line.
TEXTS = {
    "virtual": ("struct s {\nvirtual void f();\n};", 2, "no virtual functions"),
    "derived class": ("struct a { int i; };\nstruct b : a { int j; };", 2, "no derived classes"),
    "recursion": ("int f(int n) {\nreturn n ? f(n - 1) : 0; }\n" + KERNEL + " { y[t] = f(t); }", 1, "'f' calls itself"),
    "mutual recursion": (
        "int g(int n);\nint f(int n) { return n ? g(n - 1) : 0; }\nint g(int n) { return f(n); }\n"
        + KERNEL + " { y[t] = f(t); }", None, "calls itself"
    ),
    "program scope": ("\nint n = 3;", 2, "a variable at program scope has to be `constant`"),
    "program scope constexpr": ("constexpr int n = 3;", 1, "a variable at program scope has to be `constant`"),
    "static member": ("struct s {\nstatic constexpr int n = 3; };", 2, "a static member has to be `constant`"),
    "threadgroup at program scope": ("threadgroup float s[4];", 1, "a threadgroup variable outside of a kernel"),
    "threadgroup in a function": ("void f() {\nthreadgroup float s[4]; s[0] = 1; }", 2, "outside of a kernel"),
    "bare parameter": ("float f(float *p) { return *p; }", 1, "a pointer names its address space"),
    "bare reference parameter": ("void f(const float &p) {}", 1, "a reference names its address space"),
    "bare member": ("struct s { int n;\nfloat *p; };", 2, "a pointer names its address space"),
    "bare return": ("device float &f(device float *p);\nfloat &g();", 2, "a reference names its address space"),
    "template parameter": ("template <typename T>\nT f(T *p) { return *p; }", 2, "a pointer names its address space"),
    "standard header": ("#include <cmath>\n", 1, "'cmath' file not found"),
    "kernel's type": ("kernel int k(device int *y [[buffer(0)]]) { return 1; }", 1, "a kernel returns void"),
    "kernel's overload": (KERNEL + " { y[t] = 1; }\nkernel void k(device int *z [[buffer(1)]]) { z[0] = 1; }", 2,
                          "kernels cannot be overloaded"),
    "no attribute": ("kernel void k(device int *y) { y[0] = 1; }", 1, "'y' of kernel 'k' has no attribute"),
    "unknown attribute": ("kernel void k(uint y [[thread_number]]) {}", 1, "no attribute [[thread_number]]"),
    "value as buffer": ("kernel void k(int y [[buffer(0)]]) {}", 1, "'y' is [[buffer]]"),
    "threadgroup as buffer": ("kernel void k(threadgroup int *y [[buffer(0)]]) {}", 1, "'y' is [[buffer]]"),
    "device as threadgroup": ("kernel void k(device int *y [[threadgroup(0)]]) {}", 1, "'y' is [[threadgroup]]"),
    "index of two": ("kernel void k(device int *y [[buffer(2)]], device int *z [[buffer(2)]]) {}", 1, "the same index"),
    "index beyond 30": ("kernel void k(device int *y [[buffer(31)]]) {}", 1, "an index beyond 30"),
    "float position": ("kernel void k(float t [[thread_position_in_grid]]) {}", 1, "'t' is [[thread_position_in_grid]]"),
    "vector index": ("kernel void k(uint2 t [[thread_index_in_simdgroup]]) {}", 1, "which has another type"),
    "two widths": ("kernel void k(uint3 g [[threadgroup_position_in_grid]], uint2 t [[thread_position_in_grid]]) {}", 1,
                   "of different dimensions"),
    "two types": ("kernel void k(uint g [[thread_index_in_simdgroup]], ushort t [[threads_per_simdgroup]]) {}", 1,
                  "need the same type"),
    "constant without its space": ("int n [[function_constant(0)]];", 1, "has to be declared `constant`"),
    "initialized function constant": ("constant int n [[function_constant(0)]] = 1;", 1, "must not be initialized"),
    "local function constant": (KERNEL + " {\nconstant int n [[function_constant(0)]]; y[t] = n; }", 2, "at program scope"),
    "array of function constants": ("constant int n [[function_constant(0)]];\nconstant int v[n] = {};", 2, "array"),
    "function constant as template argument": (
        "constant int n [[function_constant(0)]];\ntemplate <int N> int f() { return N; }\n"
        + KERNEL + " { y[t] = f<n>(); }", 3, "no matching function"
    ),
    "pointer function constant": ("constant float4 n [[function_constant(0)]];", 1, "a scalar is expected"),
    "atomic in thread memory": (KERNEL + " {\natomic_int n; atomic_store_explicit(&n, 1, memory_order_relaxed); }", 2,
                                "an atomic lies in device or threadgroup memory"),
    "matrix from constant memory": (
        "kernel void k(constant float *x [[buffer(0)]]) {\nsimdgroup_float8x8 m; simdgroup_load(m, x); }", 2,
        "from device or threadgroup memory"
    ),
    "matrix of another type": (
        "kernel void k(device half *x [[buffer(0)]]) {\nsimdgroup_float8x8 m; simdgroup_load(m, x); }", 2, "of another type"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", TEXTS)
def test_refused_in_a_text(fault: str) -> None:
    text, line, message = TEXTS[fault]
    found = refusals(text)
    where = "planted.metal:" if line is None else f"planted.metal:{line}:"
    assert any(one.startswith(where) and message in one for one in found), found


ACCEPTED = r"""
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
"""


@pytest.mark.parametrize("checked", [False, True], ids=["fast", "checked"])
def test_correct_msl_is_accepted(checked: bool) -> None:
    library = Library(HEAD + ACCEPTED, checked=checked)
    assert list(library.functions) == ["typed_f2", "typed_h4"]
    assert [f.contents.max_threads for f in library.functions.values()] == [64, 64]
    assert library.constants == {"MODE": 0}
