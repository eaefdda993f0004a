/* metal_simdgroup: every lane brings its value to a rendezvous; the last one reduces, once for all.
 *
 * The slots of two rendezvous take turns: a lane that hurries on writes into the other set, and
 * cannot come round to the first before every lane has read it.
 */
#ifndef SOFTMETAL_SIMD_H
#define SOFTMETAL_SIMD_H

#include "math.h"
#include "threads.h"

namespace softmetal {

template <class T> struct exchange : self {
    static_assert(sizeof(typename metal::shape<T>::element) <= 4 &&
                      !metal::is_same_v<typename metal::shape<T>::element, bool>,
                  "simd_...: of integers or floats of at most 32 bits, or vectors of them");
    T *slots;
    T *result;
    SOFTMETAL_INLINE exchange(T x)
    {
        slots = (T *)group->slots[group->parity];
        result = (T *)group->results[group->parity];
        slots[lane] = x;
    }
};

/* Halves the lanes again and again: a tree, as a GPU's shuffles do it, and vector arithmetic here.
 */
template <class T, class F> SOFTMETAL_INLINE T reduce(T *slots, u32 lanes, F f)
{
    if (__builtin_expect(lanes == LANES, 1)) {
        T half[16];
        for (int i = 0; i < 16; i++)
            half[i] = f(slots[i], slots[i + 16]);
        for (int n = 8; n > 0; n /= 2)
            for (int i = 0; i < n; i++)
                half[i] = f(half[i], half[i + n]);
        return half[0];
    }
    T sum = slots[0];
    for (u32 i = 1; i < lanes; i++)
        sum = f(sum, slots[i]);
    return sum;
}

} // namespace softmetal

#define SOFTMETAL_REDUCTION(name, expression) \
    template <class T> SOFTMETAL_INLINE T name(T x, SOFTMETAL_SITE) \
    { \
        const softmetal::exchange<T> e(x); \
        if (softmetal::meet(e, softmetal::OP_##name, line, file)) \
            *e.result = softmetal::reduce(e.slots, e.group->lanes, \
                                          [](T a, T b) -> T { return expression; }); \
        return *e.result; \
    }
/* What lane `from` brought; a lane that is not there leaves the value as it was. */
#define SOFTMETAL_SHUFFLE(name, argument, from) \
    template <class T> SOFTMETAL_INLINE T name(T x, ushort argument, SOFTMETAL_SITE) \
    { \
        const softmetal::exchange<T> e(x); \
        [[maybe_unused]] const uint lane = e.lane; \
        softmetal::meet(e, softmetal::OP_##name, line, file); \
        const uint source = from; \
        return source < e.group->lanes ? e.slots[source] : x; \
    }
#define SOFTMETAL_PREFIX(name, start, expression, after) \
    template <class T> SOFTMETAL_INLINE T name(T x, SOFTMETAL_SITE) \
    { \
        const softmetal::exchange<T> e(x); \
        if (softmetal::meet(e, softmetal::OP_##name, line, file)) { \
            T sum = (T)(start); \
            for (uint i = 0; i < e.group->lanes; i++) { \
                const T own = e.slots[i], before = sum; \
                sum = expression; \
                e.slots[i] = after ? sum : before; \
            } \
        } \
        return e.slots[e.lane]; \
    }

namespace metal {

SOFTMETAL_REDUCTION(simd_sum, a + b)
SOFTMETAL_REDUCTION(simd_product, a *b)
SOFTMETAL_REDUCTION(simd_max, max(a, b))
SOFTMETAL_REDUCTION(simd_min, min(a, b))
SOFTMETAL_REDUCTION(simd_and, a &b)
SOFTMETAL_REDUCTION(simd_or, a | b)
SOFTMETAL_REDUCTION(simd_xor, a ^ b)
SOFTMETAL_SHUFFLE(simd_shuffle, source_lane, source_lane)
SOFTMETAL_SHUFFLE(simd_shuffle_xor, mask, lane ^ mask)
SOFTMETAL_SHUFFLE(simd_shuffle_up, delta, lane - delta)
SOFTMETAL_SHUFFLE(simd_shuffle_down, delta, lane + delta)
SOFTMETAL_SHUFFLE(simd_shuffle_rotate_up, delta, (lane - delta) % 32)
SOFTMETAL_SHUFFLE(simd_shuffle_rotate_down, delta, (lane + delta) % 32)
SOFTMETAL_SHUFFLE(simd_broadcast, source_lane, source_lane)
SOFTMETAL_SHUFFLE(quad_shuffle, source_lane, (lane & ~3u) + source_lane)
SOFTMETAL_SHUFFLE(quad_shuffle_xor, mask, lane ^ mask)
SOFTMETAL_SHUFFLE(quad_broadcast, source_lane, (lane & ~3u) + source_lane)
SOFTMETAL_PREFIX(simd_prefix_inclusive_sum, 0, sum + own, true)
SOFTMETAL_PREFIX(simd_prefix_exclusive_sum, 0, sum + own, false)
SOFTMETAL_PREFIX(simd_prefix_inclusive_product, 1, sum *own, true)
SOFTMETAL_PREFIX(simd_prefix_exclusive_product, 1, sum *own, false)

template <class T> SOFTMETAL_INLINE T simd_broadcast_first(T x, SOFTMETAL_SITE)
{
    const softmetal::exchange<T> e(x);
    softmetal::meet(e, softmetal::OP_simd_broadcast_first, line, file);
    return e.slots[0];
}
SOFTMETAL_INLINE bool simd_is_first() { return softmetal::self().lane == 0; }

#define SOFTMETAL_QUAD(name, expression) \
    template <class T> SOFTMETAL_INLINE T name(T x, SOFTMETAL_SITE) \
    { \
        const softmetal::exchange<T> e(x); \
        softmetal::meet(e, softmetal::OP_##name, line, file); \
        const T *q = e.slots + (e.lane & ~3u); \
        const auto f = [](T a, T b) -> T { return expression; }; \
        return f(f(q[0], q[1]), f(q[2], q[3])); \
    }
SOFTMETAL_QUAD(quad_sum, a + b)
SOFTMETAL_QUAD(quad_max, max(a, b))
SOFTMETAL_QUAD(quad_min, min(a, b))
#undef SOFTMETAL_QUAD

class simd_vote {
  public:
    typedef ulong vote_t;
    explicit constexpr simd_vote(vote_t v = 0) : v(v) {}
    explicit constexpr operator vote_t() const { return v; }
    constexpr bool all() const { return v == 0xffffffffu; }
    constexpr bool any() const { return v != 0; }

  private:
    vote_t v;
};

namespace detail {
SOFTMETAL_INLINE ulong ballot(bool x, softmetal::operation op, uint line, const char *file)
{
    const softmetal::exchange<uchar> e(x);
    if (softmetal::meet(e, op, line, file)) {
        uint votes = 0;
        for (uint i = 0; i < e.group->lanes; i++)
            votes |= (uint)e.slots[i] << i;
        *(uint *)e.result = votes;
    }
    return *(uint *)e.result;
}
} // namespace detail

SOFTMETAL_INLINE simd_vote simd_ballot(bool x, SOFTMETAL_SITE)
{
    return simd_vote(detail::ballot(x, softmetal::OP_simd_ballot, line, file));
}
SOFTMETAL_INLINE bool simd_any(bool x, SOFTMETAL_SITE)
{
    return detail::ballot(x, softmetal::OP_simd_any, line, file) != 0;
}
SOFTMETAL_INLINE bool simd_all(bool x, SOFTMETAL_SITE)
{
    return detail::ballot(!x, softmetal::OP_simd_all, line, file) == 0;
}

} // namespace metal
#undef SOFTMETAL_REDUCTION
#undef SOFTMETAL_SHUFFLE
#undef SOFTMETAL_PREFIX
#endif
