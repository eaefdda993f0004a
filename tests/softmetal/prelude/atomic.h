/* metal_atomic: relaxed atomics in device and threadgroup memory; several threadgroups run at once. */
#ifndef SOFTMETAL_ATOMIC_H
#define SOFTMETAL_ATOMIC_H

#include "types.h"

namespace metal {

enum memory_order { memory_order_relaxed = __ATOMIC_RELAXED };

template <class T> struct atomic {
    static_assert(sizeof(T) == 4 || is_same_v<T, bool> || is_same_v<T, ulong>, "MSL has no such atomic");
    T value;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;
typedef atomic<ulong> atomic_ulong;

template <class T> inline T atomic_load_explicit(const volatile atomic<T> *p, memory_order)
{
    T value;
    __atomic_load(&p->value, &value, __ATOMIC_RELAXED);
    return value;
}
template <class T, class V> inline void atomic_store_explicit(volatile atomic<T> *p, V v, memory_order)
{
    T value = (T)v;
    __atomic_store(&p->value, &value, __ATOMIC_RELAXED);
}
template <class T, class V> inline T atomic_exchange_explicit(volatile atomic<T> *p, V v, memory_order)
{
    T value = (T)v, old;
    __atomic_exchange(&p->value, &value, &old, __ATOMIC_RELAXED);
    return old;
}
template <class T, class V>
inline bool atomic_compare_exchange_weak_explicit(volatile atomic<T> *p, T *expected, V v, memory_order, memory_order)
{
    T value = (T)v;
    return __atomic_compare_exchange(&p->value, expected, &value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
#define SOFTMETAL_FETCH(name) \
    template <class T, class V> inline T atomic_##name##_explicit(volatile atomic<T> *p, V v, memory_order) \
    { \
        return __atomic_##name(&p->value, (T)v, __ATOMIC_RELAXED); \
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
using metal::atomic_int, metal::atomic_uint, metal::atomic_bool, metal::atomic_float, metal::atomic_ulong;
using metal::memory_order, metal::memory_order_relaxed;
#endif
