/* How a kernel gets its arguments: the generated entry of each kernel names the source of each. */
#ifndef SOFTMETAL_CALL_H
#define SOFTMETAL_CALL_H

#include "threads.h"
#include "types.h"

namespace softmetal {

template <class F, int i> struct parameter;
template <class First, class... Rest, int i>
struct parameter<void (*)(First, Rest...), i> : parameter<void (*)(Rest...), i - 1> {};
template <class First, class... Rest> struct parameter<void (*)(First, Rest...), 0> { typedef First type; };

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

/* What the host has to know of a buffer argument: bytes of an element, times two, plus one if the kernel
 * may write there. */
template <class T> struct bytes_of { static constexpr long value = sizeof(T); };
template <> struct bytes_of<void> { static constexpr long value = 1; };
template <> struct bytes_of<const void> { static constexpr long value = 1; };
template <class P>
inline constexpr long facts = 2 * bytes_of<typename pointee<P>::type>::value + !is_const<typename pointee<P>::type>::value;

template <class P> SOFTMETAL_INLINE P in_buffer(machine *m, int index) { return pointee<P>::from(m->buffers[index]); }
template <class P> SOFTMETAL_INLINE P in_threadgroup(machine *m, int index)
{
    return pointee<P>::from(m->threadgroup_memory[index]);
}

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
    SOFTMETAL_INLINE place(const machine *m, u32 thread)
    {
        x = thread % m->threads[0];
        y = m->threads[1] == 1 && m->threads[2] == 1 ? 0 : thread / m->threads[0] % m->threads[1];
        z = m->threads[2] == 1 ? 0 : thread / (m->threads[0] * m->threads[1]);
    }
};

#define BUILT_IN(name, x, y, z) \
    template <class P> SOFTMETAL_INLINE P name(machine *m, u32 thread) \
    { \
        (void)m, (void)thread; \
        return built_in<P>(x, y, z); \
    }
#define BUILT_IN_PLACE(name, x, y, z) \
    template <class P> SOFTMETAL_INLINE P name(machine *m, u32 thread) \
    { \
        const place p(m, thread); \
        return built_in<P>(x, y, z); \
    }
BUILT_IN_PLACE(thread_position_in_threadgroup, p.x, p.y, p.z)
BUILT_IN_PLACE(thread_position_in_grid, m->position[0] * m->threads[0] + p.x, m->position[1] * m->threads[1] + p.y,
               m->position[2] * m->threads[2] + p.z)
BUILT_IN(threadgroup_position_in_grid, m->position[0], m->position[1], m->position[2])
BUILT_IN(threads_per_threadgroup, m->threads[0], m->threads[1], m->threads[2])
BUILT_IN(dispatch_threads_per_threadgroup, m->threads[0], m->threads[1], m->threads[2])
BUILT_IN(threadgroups_per_grid, m->threadgroups[0], m->threadgroups[1], m->threadgroups[2])
BUILT_IN(threads_per_grid, m->threadgroups[0] * m->threads[0], m->threadgroups[1] * m->threads[1],
         m->threadgroups[2] * m->threads[2])
BUILT_IN(thread_index_in_threadgroup, thread, 0, 0)
BUILT_IN(thread_index_in_simdgroup, thread % LANES, 0, 0)
BUILT_IN(thread_index_in_quadgroup, thread % 4, 0, 0)
BUILT_IN(simdgroup_index_in_threadgroup, thread / LANES, 0, 0)
BUILT_IN(quadgroup_index_in_threadgroup, thread / 4, 0, 0)
BUILT_IN(simdgroups_per_threadgroup, m->n_groups, 0, 0)
BUILT_IN(dispatch_simdgroups_per_threadgroup, m->n_groups, 0, 0)
BUILT_IN(threads_per_simdgroup, LANES, 0, 0)
BUILT_IN(thread_execution_width, LANES, 0, 0)
#undef BUILT_IN
#undef BUILT_IN_PLACE

/* A threadgroup variable declared in a kernel's body: one for all threads. */
template <class T> SOFTMETAL_INLINE T &static_variable(u32 id, SOFTMETAL_SITE)
{
    const self me;
    void *p = me.m->statics[id];
    if (__builtin_expect(p == nullptr, 0))
        p = me.m->static_variable(me.m, me.thread, id, sizeof(T), alignof(T), line, file);
    return *(T *)p;
}

} // namespace softmetal
#endif
