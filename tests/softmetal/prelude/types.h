/* MSL's scalar, vector and packed types (MSL specification, chapter 2). */
#ifndef SOFTMETAL_TYPES_H
#define SOFTMETAL_TYPES_H

#include "spaces.h"

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef _Float16 half;
typedef signed char int8_t;
typedef uchar uint8_t;
typedef short int16_t;
typedef ushort uint16_t;
typedef int int32_t;
typedef uint uint32_t;
typedef long int64_t;
typedef ulong uint64_t;
typedef ulong size_t;
typedef long ptrdiff_t;
typedef ulong uintptr_t;
typedef long intptr_t;

namespace metal {
template <class T, int N> using vec = T __attribute__((ext_vector_type(N)));

using ::int8_t, ::uint8_t, ::int16_t, ::uint16_t, ::int32_t, ::uint32_t, ::int64_t, ::uint64_t;
using ::size_t, ::ptrdiff_t, ::uchar, ::ushort, ::uint, ::ulong, ::half;
} // namespace metal

/* packed_float3 and its like have the size and the alignment of their elements. */
template <class T, int N> struct softmetal_packed_three {
    T x, y, z;
    softmetal_packed_three() = default;
    softmetal_packed_three(metal::vec<T, 3> v) : x(v.x), y(v.y), z(v.z) {}
    softmetal_packed_three(T a) : x(a), y(a), z(a) {}
    softmetal_packed_three(T a, T b, T c) : x(a), y(b), z(c) {}
    operator metal::vec<T, 3>() const { return metal::vec<T, 3>{x, y, z}; }
    T &operator[](int i) { return (&x)[i]; }
    const T &operator[](int i) const { return (&x)[i]; }
};

#define SOFTMETAL_VECTORS(type) \
    typedef metal::vec<type, 2> type##2; \
    typedef metal::vec<type, 3> type##3; \
    typedef metal::vec<type, 4> type##4; \
    typedef type packed_##type##2 __attribute__((ext_vector_type(2), aligned(sizeof(type)))); \
    typedef softmetal_packed_three<type, 3> packed_##type##3; \
    typedef type packed_##type##4 __attribute__((ext_vector_type(4), aligned(sizeof(type)))); \
    namespace metal { \
    using ::type##2, ::type##3, ::type##4; \
    using ::packed_##type##2, ::packed_##type##3, ::packed_##type##4; \
    }
SOFTMETAL_VECTORS(char)
SOFTMETAL_VECTORS(uchar)
SOFTMETAL_VECTORS(short)
SOFTMETAL_VECTORS(ushort)
SOFTMETAL_VECTORS(int)
SOFTMETAL_VECTORS(uint)
SOFTMETAL_VECTORS(long)
SOFTMETAL_VECTORS(ulong)
SOFTMETAL_VECTORS(half)
SOFTMETAL_VECTORS(float)
#undef SOFTMETAL_VECTORS
typedef metal::vec<bool, 2> bool2;
typedef metal::vec<bool, 3> bool3;
typedef metal::vec<bool, 4> bool4;

namespace metal {
using ::bool2, ::bool3, ::bool4;

template <bool condition, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool condition, class T = void> using enable_if_t =
    typename enable_if<condition, T>::type;
template <class A, class B> struct is_same { static constexpr bool value = false; };
template <class A> struct is_same<A, A> { static constexpr bool value = true; };
template <class A, class B> inline constexpr bool is_same_v = is_same<A, B>::value;
template <bool c, class A, class B> struct conditional { typedef A type; };
template <class A, class B> struct conditional<false, A, B> { typedef B type; };
template <bool c, class A, class B> using conditional_t = typename conditional<c, A, B>::type;
template <class T> struct remove_reference { typedef T type; };
template <class T> struct remove_reference<T &> { typedef T type; };
template <class T> struct remove_space { typedef T type; };
template <class T> struct remove_space<const T> { typedef T type; };
template <class T> struct remove_space<volatile T> { typedef T type; };
template <class T> struct remove_space<const volatile T> { typedef T type; };
#ifdef SOFTMETAL_STRICT
template <class T> struct remove_space<device T> { typedef typename remove_space<T>::type type; };
template <class T> struct remove_space<constant T> { typedef typename remove_space<T>::type type; };
template <class T> struct remove_space<threadgroup T> {
    typedef typename remove_space<T>::type type;
};
#endif
template <class T> struct remove_cv { typedef T type; };
template <class T> struct remove_cv<const T> { typedef T type; };
template <class T> struct remove_cv<volatile T> { typedef T type; };
template <class T> struct remove_cv<const volatile T> { typedef T type; };
template <class T, T v> struct integral_constant { static constexpr T value = v; };
typedef integral_constant<bool, true> true_type;
typedef integral_constant<bool, false> false_type;
template <class T> struct is_floating_point {
    static constexpr bool value = is_same_v<T, float> || is_same_v<T, half>;
};

/* Element type and width of a scalar or vector. */
template <class T> struct shape {
    typedef T element;
    static constexpr int width = 1;
};
#define SOFTMETAL_SHAPE(type) \
    template <> struct shape<vec<type, 2>> { \
        typedef type element; \
        static constexpr int width = 2; \
    }; \
    template <> struct shape<vec<type, 3>> { \
        typedef type element; \
        static constexpr int width = 3; \
    }; \
    template <> struct shape<vec<type, 4>> { \
        typedef type element; \
        static constexpr int width = 4; \
    };
SOFTMETAL_SHAPE(bool)
SOFTMETAL_SHAPE(char)
SOFTMETAL_SHAPE(uchar)
SOFTMETAL_SHAPE(short)
SOFTMETAL_SHAPE(ushort)
SOFTMETAL_SHAPE(int)
SOFTMETAL_SHAPE(uint)
SOFTMETAL_SHAPE(long)
SOFTMETAL_SHAPE(ulong)
SOFTMETAL_SHAPE(half)
SOFTMETAL_SHAPE(float)
#undef SOFTMETAL_SHAPE

/* float4(...) in MSL: the front end rewrites the constructor of every vector type to
 * make<float4>(...), since clang has none in C++ (its cast of one vector to another of the same
 * size would keep the bits). */
template <class V, int at, class A> constexpr void fill(V &v, A a)
{
    if constexpr (shape<A>::width == 1)
        v[at] = (typename shape<V>::element)a;
    else
        for (int i = 0; i < shape<A>::width; i++)
            v[at + i] = (typename shape<V>::element)a[i];
}
template <class V, int at, class A, class... Rest> constexpr void fill_all(V &v, A a, Rest... rest)
{
    static_assert(at + shape<A>::width <= shape<V>::width, "too many elements for this vector");
    fill<V, at>(v, a);
    if constexpr (sizeof...(rest) > 0)
        fill_all<V, at + shape<A>::width>(v, rest...);
    else
        static_assert(at + shape<A>::width == shape<V>::width, "too few elements for this vector");
}
template <class A> constexpr A plain(A a) { return a; }
template <class T, int N> constexpr vec<T, 3> plain(softmetal_packed_three<T, N> a) { return a; }

template <class V> constexpr V make() { return V{}; }
template <class V, class A> constexpr V make(A given)
{
    const auto a = plain(given);
    typedef typename remove_cv<decltype(a)>::type given_type;
    if constexpr (shape<V>::width == 1)
        return (V)a;
    else if constexpr (shape<given_type>::width == 1)
        return (V)(typename shape<V>::element)a;
    else {
        static_assert(shape<given_type>::width == shape<V>::width, "vectors of different widths");
        return __builtin_convertvector(a, V);
    }
}
template <class V, class A, class B, class... Rest> constexpr V make(A a, B b, Rest... rest)
{
    V v{};
    fill_all<V, 0>(v, plain(a), plain(b), plain(rest)...);
    return v;
}

template <class To, class From> constexpr To as_type(From from)
{
    static_assert(sizeof(To) == sizeof(From), "as_type between types of different sizes");
    return __builtin_bit_cast(To, from);
}

/* The constants of a type. */
template <class T> struct numeric_limits;
#define SOFTMETAL_INTEGER(type, low, high, bits) \
    template <> struct numeric_limits<type> { \
        static constexpr bool is_specialized = true, is_integer = true; \
        static constexpr bool is_signed = (type)-1 < (type)0; \
        static constexpr int digits = bits; \
        static constexpr type min() { return (type)(low); } \
        static constexpr type lowest() { return (type)(low); } \
        static constexpr type max() { return (type)(high); } \
    };
SOFTMETAL_INTEGER(bool, 0, 1, 1)
SOFTMETAL_INTEGER(char, -128, 127, 7)
SOFTMETAL_INTEGER(int8_t, -128, 127, 7)
SOFTMETAL_INTEGER(uchar, 0, 255, 8)
SOFTMETAL_INTEGER(short, -32768, 32767, 15)
SOFTMETAL_INTEGER(ushort, 0, 65535, 16)
SOFTMETAL_INTEGER(int, -2147483647 - 1, 2147483647, 31)
SOFTMETAL_INTEGER(uint, 0, 4294967295u, 32)
SOFTMETAL_INTEGER(long, -9223372036854775807l - 1, 9223372036854775807l, 63)
SOFTMETAL_INTEGER(ulong, 0, 18446744073709551615ul, 64)
#undef SOFTMETAL_INTEGER
#define SOFTMETAL_FLOATING(type, bits, least, most, eps) \
    template <> struct numeric_limits<type> { \
        static constexpr bool is_specialized = true, is_integer = false, is_signed = true; \
        static constexpr bool has_infinity = true, has_quiet_NaN = true; \
        static constexpr int digits = bits; \
        static constexpr type min() { return least; } \
        static constexpr type lowest() { return -most; } \
        static constexpr type max() { return most; } \
        static constexpr type epsilon() { return eps; } \
        static constexpr type infinity() { return (type)__builtin_inff(); } \
        static constexpr type quiet_NaN() { return (type)__builtin_nanf(""); } \
    };
SOFTMETAL_FLOATING(float, 24, 0x1p-126f, 0x1.fffffep127f, 0x1p-23f)
SOFTMETAL_FLOATING(half, 11, (half)0x1p-14f, (half)65504.0f, (half)0x1p-10f)
#undef SOFTMETAL_FLOATING
} // namespace metal
#endif
