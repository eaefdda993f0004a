/* metal_atomic: relaxed atomics in device and threadgroup memory; threadgroups run in parallel. */
#ifndef SOFTMETAL_ATOMIC_H
#define SOFTMETAL_ATOMIC_H

#include "access.h"
#include "types.h"

namespace metal {

enum memory_order { memory_order_relaxed = __ATOMIC_RELAXED };

template <class T> struct atomic {
    static_assert(sizeof(T) == 4 || is_same_v<T, bool> || is_same_v<T, ulong>,
                  "MSL has no such atomic");
    typedef T value_type;
    T value;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;
typedef atomic<ulong> atomic_ulong;

namespace detail {
/* What a pointer to an atomic in device or threadgroup memory points to. */
template <class P> struct atomic_at {
    static_assert(softmetal::leads_to<P, softmetal::IN_DEVICE> ||
                      softmetal::leads_to<P, softmetal::IN_THREADGROUP>,
                  "an atomic lies in device or threadgroup memory");
    typedef typename remove_space<decltype(P()->value)>::type type;
};
template <class P> using atomic_type = typename atomic_at<P>::type;

template <class P>
SOFTMETAL_INLINE auto address(P p, softmetal::access_kind kind = softmetal::ACCESS_ATOMIC)
{
    typedef atomic_type<P> T;
    T *plain = (T *)(unsigned long)&p->value;
    softmetal::touch_atomic((unsigned long)plain, sizeof(T), kind);
    return plain;
}
} // namespace detail

template <class P> inline detail::atomic_type<P> atomic_load_explicit(P p, memory_order)
{
    return __atomic_load_n(detail::address(p), __ATOMIC_RELAXED);
}
template <class P, class V> inline void atomic_store_explicit(P p, V v, memory_order)
{
    __atomic_store_n(detail::address(p, softmetal::ACCESS_ATOMIC_STORE), (detail::atomic_type<P>)v,
                     __ATOMIC_RELAXED);
}
template <class P, class V>
inline detail::atomic_type<P> atomic_exchange_explicit(P p, V v, memory_order)
{
    return __atomic_exchange_n(detail::address(p), (detail::atomic_type<P>)v, __ATOMIC_RELAXED);
}
template <class P, class E, class V>
inline bool atomic_compare_exchange_weak_explicit(P p, E expected, V v, memory_order, memory_order)
{
    return __atomic_compare_exchange_n(detail::address(p), expected, (detail::atomic_type<P>)v,
                                       true, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
#define SOFTMETAL_FETCH(name) \
    template <class P, class V> \
    inline detail::atomic_type<P> atomic_##name##_explicit(P p, V v, memory_order) \
    { \
        return __atomic_##name(detail::address(p), (detail::atomic_type<P>)v, __ATOMIC_RELAXED); \
    }
SOFTMETAL_FETCH(fetch_add)
SOFTMETAL_FETCH(fetch_sub)
SOFTMETAL_FETCH(fetch_and)
SOFTMETAL_FETCH(fetch_or)
SOFTMETAL_FETCH(fetch_xor)
SOFTMETAL_FETCH(fetch_min)
SOFTMETAL_FETCH(fetch_max)
#undef SOFTMETAL_FETCH

} // namespace metal
using metal::atomic_int, metal::atomic_uint, metal::atomic_bool, metal::atomic_float,
    metal::atomic_ulong;
using metal::memory_order, metal::memory_order_relaxed;
#endif
