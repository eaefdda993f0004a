/* metal_math, metal_common, metal_integer, metal_relational and metal_geometric (MSL specification,
 * chapter 6), for scalars and vectors alike where clang has an element-wise builtin. */
#ifndef SOFTMETAL_MATH_H
#define SOFTMETAL_MATH_H

#include "types.h"

#define SOFTMETAL_ONE(name, builtin) \
    template <class T> inline T name(T x) { return builtin(x); }
/* Functions that clang has for float alone: element by element, through float for half. */
#define SOFTMETAL_EACH(name, function) \
    template <class T> inline T name(T x) \
    { \
        if constexpr (shape<T>::width == 1) \
            return (T)function((float)x); \
        else { \
            T y; \
            for (int i = 0; i < shape<T>::width; i++) \
                y[i] = (typename shape<T>::element)function((float)x[i]); \
            return y; \
        } \
    }
#define SOFTMETAL_EACH_TWO(name, function) \
    template <class T> inline T name(T x, T y) \
    { \
        if constexpr (shape<T>::width == 1) \
            return (T)function((float)x, (float)y); \
        else { \
            T z; \
            for (int i = 0; i < shape<T>::width; i++) \
                z[i] = (typename shape<T>::element)function((float)x[i], (float)y[i]); \
            return z; \
        } \
    }

namespace metal {

template <int bytes> struct detail_unsigned;
template <> struct detail_unsigned<1> { typedef uchar type; };
template <> struct detail_unsigned<2> { typedef ushort type; };
template <> struct detail_unsigned<4> { typedef uint type; };
template <> struct detail_unsigned<8> { typedef ulong type; };

namespace detail {
/* pi x, reduced exactly to a half turn before the multiplication. */
inline double turns(float x)
{
    const double r = (double)x - 2 * __builtin_rint((double)x / 2);
    return r * (double)3.14159265358979323846L;
}
inline float sinpi(float x) { return (float)__builtin_sin(turns(x)); }
inline float cospi(float x) { return (float)__builtin_cos(turns(x)); }
inline float tanpi(float x) { return (float)__builtin_tan(turns(x)); }
inline float rsqrt(float x) { return (float)(1 / __builtin_sqrt((double)x)); }
inline float exp10(float x) { return (float)__builtin_pow((double)10, (double)x); }
inline float sign(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? x : 0.0f; }
} // namespace detail

namespace precise {
SOFTMETAL_ONE(exp, __builtin_elementwise_exp)
SOFTMETAL_ONE(exp2, __builtin_elementwise_exp2)
SOFTMETAL_ONE(log, __builtin_elementwise_log)
SOFTMETAL_ONE(log2, __builtin_elementwise_log2)
SOFTMETAL_ONE(log10, __builtin_elementwise_log10)
SOFTMETAL_ONE(sin, __builtin_elementwise_sin)
SOFTMETAL_ONE(cos, __builtin_elementwise_cos)
SOFTMETAL_ONE(sqrt, __builtin_elementwise_sqrt)
SOFTMETAL_ONE(ceil, __builtin_elementwise_ceil)
SOFTMETAL_ONE(floor, __builtin_elementwise_floor)
SOFTMETAL_ONE(trunc, __builtin_elementwise_trunc)
SOFTMETAL_ONE(rint, __builtin_elementwise_rint)
SOFTMETAL_ONE(round, __builtin_elementwise_round)
SOFTMETAL_ONE(fabs, __builtin_elementwise_abs)
SOFTMETAL_EACH(exp10, detail::exp10)
SOFTMETAL_EACH(tan, __builtin_tanf)
SOFTMETAL_EACH(asin, __builtin_asinf)
SOFTMETAL_EACH(acos, __builtin_acosf)
SOFTMETAL_EACH(atan, __builtin_atanf)
SOFTMETAL_EACH(sinh, __builtin_sinhf)
SOFTMETAL_EACH(cosh, __builtin_coshf)
SOFTMETAL_EACH(tanh, __builtin_tanhf)
SOFTMETAL_EACH(asinh, __builtin_asinhf)
SOFTMETAL_EACH(acosh, __builtin_acoshf)
SOFTMETAL_EACH(atanh, __builtin_atanhf)
SOFTMETAL_EACH(rsqrt, detail::rsqrt)
SOFTMETAL_EACH(sinpi, detail::sinpi)
SOFTMETAL_EACH(cospi, detail::cospi)
SOFTMETAL_EACH(tanpi, detail::tanpi)
SOFTMETAL_EACH_TWO(pow, __builtin_powf)
SOFTMETAL_EACH_TWO(powr, __builtin_powf)
SOFTMETAL_EACH_TWO(atan2, __builtin_atan2f)
SOFTMETAL_EACH_TWO(fmod, __builtin_fmodf)
template <class T> inline T divide(T x, T y) { return x / y; }
template <class T> inline T fma(T a, T b, T c) { return __builtin_elementwise_fma(a, b, c); }
template <class T> inline T fmin(T a, T b) { return __builtin_elementwise_min(a, b); }
template <class T> inline T fmax(T a, T b) { return __builtin_elementwise_max(a, b); }
template <class T> inline T fract(T x) { return x - floor(x); }
template <class T> inline T sincos(T x, T &cosine)
{
    cosine = cos(x);
    return sin(x);
}
} // namespace precise

/* This machine's fast functions are its precise ones. */
namespace fast = precise;
using namespace precise;

SOFTMETAL_EACH(sign, detail::sign)
SOFTMETAL_EACH_TWO(fdim, __builtin_fdimf)
SOFTMETAL_EACH_TWO(nextafter, __builtin_nextafterf)
template <class T> inline T abs(T x) { return __builtin_elementwise_abs(x); }
template <class T> inline T copysign(T x, T y) { return __builtin_elementwise_copysign(x, y); }
template <class T> inline T min(T a, T b) { return __builtin_elementwise_min(a, b); }
template <class T> inline T max(T a, T b) { return __builtin_elementwise_max(a, b); }
template <class T> inline T min3(T a, T b, T c) { return min(a, min(b, c)); }
template <class T> inline T max3(T a, T b, T c) { return max(a, max(b, c)); }
template <class T> inline T clamp(T x, T low, T high) { return min(max(x, low), high); }
template <class T> inline T saturate(T x) { return clamp(x, (T)0, (T)1); }
template <class T> inline T mix(T x, T y, T a) { return x + (y - x) * a; }
template <class T> inline T step(T edge, T x) { return x < edge ? (T)0 : (T)1; }
template <class T> inline T smoothstep(T low, T high, T x)
{
    const T t = saturate((x - low) / (high - low));
    return t * t * (3 - 2 * t);
}
inline float ldexp(float x, int k) { return __builtin_ldexpf(x, k); }
inline half ldexp(half x, int k) { return (half)__builtin_ldexpf((float)x, k); }
inline float frexp(float x, int &exponent) { return __builtin_frexpf(x, &exponent); }
inline int ilogb(float x) { return __builtin_ilogbf(x); }
template <class T> inline T modf(T x, T &whole)
{
    whole = trunc(x);
    return copysign(x - whole, x);
}

template <class T> inline auto isnan(T x) { return x != x; }
template <class T> inline auto isinf(T x) { return abs(x) == (T)__builtin_inff(); }
template <class T> inline auto isfinite(T x) { return abs(x) < (T)__builtin_inff(); }
inline bool signbit(float x) { return __builtin_signbitf(x); }
inline bool signbit(half x) { return as_type<ushort>(x) >> 15; }
inline bool isnormal(float x) { return __builtin_isnormal(x); }

/* A comparison of vectors gives whole-element masks; bool vectors are masks of one bit. */
template <class T> inline bool any(T x)
{
    bool found = false;
    if constexpr (shape<T>::width == 1)
        found = x;
    else
        for (int i = 0; i < shape<T>::width; i++)
            found |= (bool)x[i];
    return found;
}
template <class T> inline bool all(T x)
{
    bool each = true;
    if constexpr (shape<T>::width == 1)
        each = x;
    else
        for (int i = 0; i < shape<T>::width; i++)
            each &= (bool)x[i];
    return each;
}
template <class T, class C> inline T select(T a, T b, C c)
{
    if constexpr (shape<T>::width == 1)
        return c ? b : a;
    else {
        T y;
        for (int i = 0; i < shape<T>::width; i++)
            y[i] = c[i] ? b[i] : a[i];
        return y;
    }
}

template <class T> inline T popcount(T x)
{
    return (T)__builtin_popcountg((typename detail_unsigned<sizeof(T)>::type)x);
}
template <class T> inline T clz(T x)
{
    return (T)__builtin_clzg((typename detail_unsigned<sizeof(T)>::type)x, (int)sizeof(T) * 8);
}
template <class T> inline T ctz(T x)
{
    return (T)__builtin_ctzg((typename detail_unsigned<sizeof(T)>::type)x, (int)sizeof(T) * 8);
}
template <class T> inline T reverse_bits(T x) { return __builtin_elementwise_bitreverse(x); }
template <class T> inline T rotate(T x, T n)
{
    constexpr int bits = sizeof(T) * 8;
    typedef typename detail_unsigned<sizeof(T)>::type U;
    return (T)((U)x << (n & (bits - 1)) | (U)x >> (-n & (bits - 1)));
}
inline int mulhi(int a, int b) { return (int)((long)a * b >> 32); }
inline uint mulhi(uint a, uint b) { return (uint)((ulong)a * b >> 32); }
inline int mul24(int a, int b) { return a * b; }
inline uint mul24(uint a, uint b) { return a * b; }
inline int mad24(int a, int b, int c) { return a * b + c; }
inline uint mad24(uint a, uint b, uint c) { return a * b + c; }
template <class T> inline T extract_bits(T x, uint offset, uint bits)
{
    constexpr uint width = sizeof(T) * 8;
    return bits ? (T)(x << (width - offset - bits)) >> (width - bits) : (T)0;
}
template <class T> inline T absdiff(T a, T b) { return a > b ? a - b : b - a; }
template <class T> inline T add_sat(T a, T b) { return __builtin_elementwise_add_sat(a, b); }
template <class T> inline T sub_sat(T a, T b) { return __builtin_elementwise_sub_sat(a, b); }

template <class T> inline auto dot(T a, T b)
{
    typename shape<T>::element sum = 0;
    for (int i = 0; i < shape<T>::width; i++)
        sum += a[i] * b[i];
    return sum;
}
template <class T> inline auto length_squared(T a) { return dot(a, a); }
template <class T> inline auto length(T a) { return sqrt(dot(a, a)); }
template <class T> inline auto distance(T a, T b) { return length(a - b); }
template <class T> inline T normalize(T a) { return a / length(a); }

} // namespace metal
#undef SOFTMETAL_ONE
#undef SOFTMETAL_EACH
#undef SOFTMETAL_EACH_TWO
#endif
