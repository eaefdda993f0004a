// What the front end has to refuse, one text after another: a name, what the refusal says, and the text,
// with HERE on the line that it names (of several, one is named). test_strict.py compiles each by itself.

//// double: no 'double'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    double d = y[t]; // HERE
}

//// long double: no 'double'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    long double d = y[t]; // HERE
}

//// long double literal: no 'long double'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = 1.0L; // HERE
}

//// long long: no 'long long'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    unsigned long long d = t; y[t] = d; // HERE
}

//// static local: no static variables
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    static int n = 0; y[t] = n; // HERE
}

//// exceptions: no exceptions: 'try'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    try { y[t] = 1; } catch (int) {} // HERE
}

//// throw: no exceptions: 'throw'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    if (t) throw 1; // HERE
}

//// new: no 'new'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    thread int *p = new int; y[t] = *p; // HERE
}

//// delete: no 'delete'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    thread int *p = 0; delete p; // HERE
}

//// goto: no 'goto'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    goto end; // HERE
    end: y[t] = 1;
}

//// unrolling of no loop: expected a for, while, or do-while loop
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
#pragma clang loop unroll(full)
    y[t] = 1; // HERE
}

//// contraction in the middle of a block: at the start of a compound statement
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    float x = y[t];
#pragma STDC FP_CONTRACT OFF // HERE
    y[t] = x * x + x;
}

//// label: no labels
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    end: y[t] = 1; // HERE
}

//// lambda: no lambda
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    auto f = [](int i) { return i; }; y[t] = f(1); // HERE
}

//// lambda argument: no lambda
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = int([=] { return t; }()); // HERE
}

//// thread_local: no 'thread_local'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    thread_local int n = 0; y[t] = n; // HERE
}

//// register: no 'register'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    register int n = 0; y[t] = n; // HERE
}

//// noexcept: no 'noexcept'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = noexcept(t + 1); // HERE
}

//// typeid: no 'typeid'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    typeid(t); // HERE
}

//// dynamic_cast: no 'dynamic_cast'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    dynamic_cast<thread int *>(&t); // HERE
}

//// asm: no 'asm'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    asm("nop"); // HERE
}

//// standard library: 'std::'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = std::max(1, 2); // HERE
}

//// bare pointer: a pointer names its address space
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    float *p = 0; y[t] = *p; // HERE
}

//// bare const pointer: a pointer names its address space
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    const float *p = 0; y[t] = *p; // HERE
}

//// bare reference: a reference names its address space
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    float v = 1; float &r = v; y[t] = r; // HERE
}

//// bare auto reference: a reference names its address space
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    auto &r = y[t]; r = 1; // HERE
}

//// bare cast: a pointer names its address space
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = *(float *)&y[t]; // HERE
}

//// bare pointer to a pointer: a pointer names its address space
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    device float **p = 0; y[t] = **p; // HERE
}

//// bare pointer to a vector: a pointer names its address space
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    vec<float, 4> *p = 0; y[t] = p->x; // HERE
}

//// device to thread: cannot initialize a variable of type 'float *'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    thread float *p = y; y[t] = *p; // HERE
}

//// thread to device: device float
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    float v; device float *p = &v; y[t] = *p; // HERE
}

//// device to threadgroup: threadgroup float
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    threadgroup float *p = y + 1; y[t] = *p; // HERE
}

//// device to thread reference: changes address space
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    thread float &r = y[t]; r = 1; // HERE
}

//// cast between spaces: a cast from one
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    threadgroup float *p = (threadgroup float *)y; y[t] = *p; // HERE
}

//// reinterpret_cast between spaces: reinterpret_cast from 'device float *'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = *reinterpret_cast<threadgroup float *>(y); // HERE
}

//// threadgroup variable in a block: in an inner block
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    if (t) { threadgroup float s[4]; s[0] = 1; } // HERE
}

//// initialized threadgroup variable: cannot be initialized
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    threadgroup float s = 1; y[t] = s; // HERE
}

//// variable length array: variable length array
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    float v[t + 1]; y[t] = v[0]; // HERE
}

//// write to constant memory: not assignable
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    constant float *p = 0; p[0] = 1; // HERE
}

//// if constexpr: C++17
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    if constexpr (sizeof(int) == 4) y[t] = 1; // HERE
}

//// structured binding: C++17
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    int v[2]; auto [a, b] = v; y[t] = a + b; // HERE
}

//// vector of another width: float4
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    float4 v = float3(1); y[t] = v.x; // HERE
}

//// vector with too many elements: too many elements for this vector
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = float2(1, 2, 3).x; // HERE
}

//// vector with too few elements: too few elements for this vector
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = float4(1, 2, 3).x; // HERE
}

//// min of two types: no matching function for call to 'min'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = min(t, 1); // HERE
}

//// unknown name: undeclared identifier 'nonsense'
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = nonsense; // HERE
}

//// 64-bit reduction: at most 32 bits
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    y[t] = simd_sum(ulong(t)); // HERE
}

//// bfloat: 'bfloat' is of MSL 3.1
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]])
{
    bfloat b = 1; y[t] = b; // HERE
}

//// virtual: no virtual functions
struct s {
virtual void f(); // HERE
};

//// derived class: no derived classes
struct a { int i; };
struct b : a { int j; }; // HERE

//// recursion: 'f' calls itself
int f(int n) { // HERE
return n ? f(n - 1) : 0; }
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]]) { y[t] = f(t); }

//// mutual recursion: calls itself
int g(int n);
int f(int n) { return n ? g(n - 1) : 0; } // HERE
int g(int n) { return f(n); } // HERE
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]]) { y[t] = f(t); }

//// program scope: a variable at program scope has to be `constant`
int n = 3; // HERE

//// program scope constexpr: a variable at program scope has to be `constant`
constexpr int n = 3; // HERE

//// static member: a static member has to be `constant`
struct s {
static constexpr int n = 3; }; // HERE

//// threadgroup at program scope: a threadgroup variable outside of a kernel
threadgroup float s[4]; // HERE

//// threadgroup in a function: outside of a kernel
void f() {
threadgroup float s[4]; s[0] = 1; } // HERE

//// bare parameter: a pointer names its address space
float f(float *p) { return *p; } // HERE

//// bare reference parameter: a reference names its address space
void f(const float &p) {} // HERE

//// bare member: a pointer names its address space
struct s { int n;
float *p; }; // HERE

//// bare return: a reference names its address space
device float &f(device float *p);
float &g(); // HERE

//// template parameter: a pointer names its address space
template <typename T>
T f(T *p) { return *p; } // HERE

//// standard header: 'cmath' file not found
#include <cmath> // HERE

//// kernel's type: a kernel returns void
kernel int k(device int *y [[buffer(0)]]) { return 1; } // HERE

//// kernel's overload: kernels cannot be overloaded
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]]) { y[t] = 1; }
kernel void k(device int *z [[buffer(1)]]) { z[0] = 1; } // HERE

//// no attribute: 'y' of kernel 'k' has no attribute
kernel void k(device int *y) { y[0] = 1; } // HERE

//// unknown attribute: no attribute [[thread_number]]
kernel void k(uint y [[thread_number]]) {} // HERE

//// value as buffer: 'y' is [[buffer]]
kernel void k(int y [[buffer(0)]]) {} // HERE

//// threadgroup as buffer: 'y' is [[buffer]]
kernel void k(threadgroup int *y [[buffer(0)]]) {} // HERE

//// device as threadgroup: 'y' is [[threadgroup]]
kernel void k(device int *y [[threadgroup(0)]]) {} // HERE

//// index of two: the same index
kernel void k(device int *y [[buffer(2)]], device int *z [[buffer(2)]]) {} // HERE

//// index beyond 30: an index beyond 30
kernel void k(device int *y [[buffer(31)]]) {} // HERE

//// float position: 't' is [[thread_position_in_grid]]
kernel void k(float t [[thread_position_in_grid]]) {} // HERE

//// vector index: which has another type
kernel void k(uint2 t [[thread_index_in_simdgroup]]) {} // HERE

//// two widths: of different dimensions
kernel void k(uint3 g [[threadgroup_position_in_grid]], uint2 t [[thread_position_in_grid]]) {} // HERE

//// two types: need the same type
kernel void k(uint g [[thread_index_in_simdgroup]], ushort t [[threads_per_simdgroup]]) {} // HERE

//// constant without its space: has to be declared `constant`
int n [[function_constant(0)]]; // HERE

//// initialized function constant: must not be initialized
constant int n [[function_constant(0)]] = 1; // HERE

//// local function constant: at program scope
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]]) {
constant int n [[function_constant(0)]]; y[t] = n; } // HERE

//// array of function constants: array
constant int n [[function_constant(0)]];
constant int v[n] = {}; // HERE

//// function constant as template argument: no matching function
constant int n [[function_constant(0)]];
template <int N> int f() { return N; }
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]]) { y[t] = f<n>(); } // HERE

//// pointer function constant: a scalar is expected
constant float4 n [[function_constant(0)]]; // HERE

//// atomic in thread memory: an atomic lies in device or threadgroup memory
kernel void k(device float *y [[buffer(0)]], uint t [[thread_position_in_grid]]) {
atomic_int n; atomic_store_explicit(&n, 1, memory_order_relaxed); } // HERE

//// matrix from constant memory: from device or threadgroup memory
kernel void k(constant float *x [[buffer(0)]]) {
simdgroup_float8x8 m; simdgroup_load(m, x); } // HERE

//// matrix of another type: of another type
kernel void k(device half *x [[buffer(0)]]) {
simdgroup_float8x8 m; simdgroup_load(m, x); } // HERE
