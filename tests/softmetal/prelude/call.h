/* How a kernel gets its arguments: the generated entry of each kernel names the source of each. */
#ifndef SOFTMETAL_CALL_H
#define SOFTMETAL_CALL_H

#include "threads.h"
#include "types.h"

namespace softmetal {

template <class F, int i> struct parameter;
template <class First, class... Rest, int i>
struct parameter<void (*)(First, Rest...), i> : parameter<void (*)(Rest...), i - 1> {};
template <class First, class... Rest> struct parameter<void (*)(First, Rest...), 0> {
    typedef First type;
};

template <class T> struct pointee;
template <class T> struct pointee<T *> {
    typedef T type;
    static SOFTMETAL_INLINE T *from(void *p) { return (T *)p; }
};
template <class T> struct pointee<T &> {
    typedef T type;
    static SOFTMETAL_INLINE T &from(void *p) { return *(T *)p; }
};
template <class T> struct is_const { static constexpr bool value = false; };
template <class T> struct is_const<const T> { static constexpr bool value = true; };

/* What the host has to know of a buffer argument: whether the kernel may write there, its alignment
 * (at most 255) times 2, and the bytes of an element times 512. */
template <class T> struct layout_of {
    static constexpr long value = 512 * sizeof(T) + 2 * alignof(T);
};
template <> struct layout_of<void> { static constexpr long value = 512 + 2; };
template <> struct layout_of<const void> { static constexpr long value = 512 + 2; };
template <class P> inline constexpr long facts =
    layout_of<typename pointee<P>::type>::value + !is_const<typename pointee<P>::type>::value;

template <class P> SOFTMETAL_INLINE P in_buffer(machine *m, int index)
{
    return pointee<P>::from(m->buffers[index]);
}
template <class P> SOFTMETAL_INLINE P in_threadgroup(machine *m, int index)
{
    return pointee<P>::from(m->threadgroup_memory[index]);
}

/* What the strict pass wants of parameters' types (specification, 5.2.1 and 5.2.3.6). */
template <class P> inline constexpr bool is_buffer =
    leads_to<P, IN_DEVICE> || leads_to<P, IN_CONSTANT>;
template <class P> inline constexpr bool is_threadgroup = leads_to<P, IN_THREADGROUP>;
template <class A, class B> inline constexpr bool same = metal::is_same_v<A, B>;
template <class V> inline constexpr int width =
    metal::shape<typename metal::remove_cv<V>::type>::width;
template <class V> inline constexpr bool counts =
    metal::is_same_v<typename metal::shape<typename metal::remove_cv<V>::type>::element, ushort> ||
    metal::is_same_v<typename metal::shape<typename metal::remove_cv<V>::type>::element, uint>;
template <class V> inline constexpr bool is_position = counts<V> && width<V> <= 3;
template <class V> inline constexpr bool is_index = counts<V> && width<V> == 1;

/* A built-in value as a scalar (its x) or a vector of any integer type. */
template <class P> SOFTMETAL_INLINE P built_in(u32 x, u32 y, u32 z)
{
    const u32 all[3] = {x, y, z};
    typedef typename metal::remove_cv<P>::type V;
    if constexpr (metal::shape<V>::width == 1)
        return (V)x;
    else {
        V v;
        for (int i = 0; i < metal::shape<V>::width; i++)
            v[i] = (typename metal::shape<V>::element)all[i];
        return v;
    }
}

struct place { /* of a thread in its threadgroup */
    u32 x, y, z;
    SOFTMETAL_INLINE place(const machine *m, u32 t)
    {
        x = t % m->threads[0];
        y = m->threads[1] == 1 && m->threads[2] == 1 ? 0 : t / m->threads[0] % m->threads[1];
        z = m->threads[2] == 1 ? 0 : t / (m->threads[0] * m->threads[1]);
    }
};

#define BUILT_IN(name, kind, x, y, z) \
    template <class P> SOFTMETAL_INLINE P name(const machine *m, u32 t) \
    { \
        const place p(m, t); \
        (void)p; \
        return built_in<P>(x, y, z); \
    }
#include "built_ins.def"

/* A threadgroup variable declared in a kernel's body: one for all threads. */
template <class T> SOFTMETAL_INLINE auto static_variable(u32 id, SOFTMETAL_SITE) -> threadgroup T &
{
    const self me;
    void *p = me.m->statics[id];
    if (__builtin_expect(p == nullptr, 0))
        p = me.m->static_variable(me.m, me.number, id, sizeof(T), alignof(T), line, file);
    return *(threadgroup T *)(u64)p;
}

} // namespace softmetal
#endif
