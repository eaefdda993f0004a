/* metal_simdgroup_matrix: 8 x 8 matrices that the lanes of a SIMD group hold together.
 *
 * Every lane's stack has room for the whole matrix; only that of lane 0 is used, and only lane 0
 * computes, without waiting for the others: what other lanes wrote or will read is separated from
 * these operations by barriers, which all lanes pass. thread_elements() shows a lane its two
 * elements in lane 0's copy, which lies a fixed distance away; so all lanes meet there, and once
 * more before the next operation.
 */
#ifndef SOFTMETAL_MATRIX_H
#define SOFTMETAL_MATRIX_H

#include "simd.h"

namespace softmetal {

/* Before an operation of a whole SIMD group on matrices. True for the lane that does it. */
SOFTMETAL_INLINE bool lead(operation op, u32 line, const char *file)
{
    const self me;
    u32 &count = me.group->matrix_operations[me.lane];

#ifdef SOFTMETAL_CHECKED
    meet(me, op, line, file);
#else
    if (__builtin_expect(count & ELEMENTS_OPEN, 0)) {
        meet(me, op, line, file);
        count &= ~ELEMENTS_OPEN;
    }
    count++;
#endif
    return me.lane == 0;
}

} // namespace softmetal

namespace metal {

template <class T, int Columns, int Rows> struct simdgroup_matrix {
    static_assert(Columns == 8 && Rows == 8, "simdgroup_matrix: MSL has 8 x 8 alone");
    typedef T row __attribute__((ext_vector_type(8)));
    row rows[8];

    SOFTMETAL_INLINE simdgroup_matrix() {}
    SOFTMETAL_INLINE explicit simdgroup_matrix(T diagonal)
    {
        if (softmetal::self().lane == 0)
            for (int i = 0; i < 8; i++) {
                rows[i] = (row)(T)0;
                rows[i][i] = diagonal;
            }
    }
    SOFTMETAL_INLINE simdgroup_matrix(const simdgroup_matrix &m) { take(m); }
    SOFTMETAL_INLINE simdgroup_matrix &operator=(const simdgroup_matrix &m)
    {
        take(m);
        return *this;
    }

    /* Apple's GPUs: bits 0 and 3 of the lane are bits 1 and 2 of the column, bits 1, 2 and 4 the
     * row. */
    SOFTMETAL_INLINE vec<T, 2> &thread_elements(SOFTMETAL_SITE)
    {
        const softmetal::self me;
        softmetal::u32 &count = me.group->matrix_operations[me.lane];
        if (!(count & softmetal::ELEMENTS_OPEN)) {
            softmetal::meet(me, softmetal::OP_thread_elements, line, file);
            count |= softmetal::ELEMENTS_OPEN;
        }
        char *own = (char *)this;
        __asm__ volatile("" : "+r"(own) : : "memory");
        T *elements = (T *)(own - me.lane * softmetal::LANE_STRIDE);
        const uint lane = me.lane;
        const uint y = (lane >> 4 & 1) * 4 + (lane >> 1 & 3),
                   x = (lane >> 3 & 1) * 4 + (lane & 1) * 2;
        return *(vec<T, 2> *)(elements + y * 8 + x);
    }

  private:
    SOFTMETAL_INLINE void take(const simdgroup_matrix &m)
    {
        if (softmetal::lead(softmetal::OP_simdgroup_copy, __builtin_LINE(), __builtin_FILE()))
            for (int i = 0; i < 8; i++)
                rows[i] = m.rows[i];
    }
};

typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;

template <class T, int C, int R>
SOFTMETAL_INLINE simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T value, SOFTMETAL_SITE)
{
    simdgroup_matrix<T, C, R> m;
    if (softmetal::lead(softmetal::OP_simdgroup_fill, line, file))
        for (int i = 0; i < R; i++)
            m.rows[i] = (typename simdgroup_matrix<T, C, R>::row)value;
    return m;
}

/* The origin (column, row) counts in the matrix as it lies in memory. */
template <class T, int C, int R, class P>
SOFTMETAL_INLINE void simdgroup_load(simdgroup_matrix<T, C, R> &m, P source,
                                     ulong elements_per_row = C, ulong2 origin = 0,
                                     bool transpose = false, SOFTMETAL_SITE)
{
    static_assert(softmetal::leads_to<P, softmetal::IN_DEVICE> ||
                      softmetal::leads_to<P, softmetal::IN_THREADGROUP>,
                  "simdgroup_load: from device or threadgroup memory");
    static_assert(is_same_v<typename remove_space<decltype(+source[0])>::type, T>,
                  "simdgroup_load: of another type");
    if (!softmetal::lead(softmetal::OP_simdgroup_load, line, file))
        return;
    const auto p = source + origin.y * elements_per_row + origin.x;
    for (int i = 0; i < R; i++)
        for (int j = 0; j < C; j++)
            m.rows[i][j] = transpose ? p[j * elements_per_row + i] : p[i * elements_per_row + j];
}

template <class T, int C, int R, class P>
SOFTMETAL_INLINE void simdgroup_store(const simdgroup_matrix<T, C, R> &m, P destination,
                                      ulong elements_per_row = C, ulong2 origin = 0,
                                      bool transpose = false, SOFTMETAL_SITE)
{
    static_assert(softmetal::leads_to<P, softmetal::IN_DEVICE> ||
                      softmetal::leads_to<P, softmetal::IN_THREADGROUP>,
                  "simdgroup_store: to device or threadgroup memory");
    static_assert(is_same_v<typename remove_space<decltype(+destination[0])>::type, T>,
                  "simdgroup_store: of another type");
    if (!softmetal::lead(softmetal::OP_simdgroup_store, line, file))
        return;
    const auto p = destination + origin.y * elements_per_row + origin.x;
    for (int i = 0; i < R; i++)
        for (int j = 0; j < C; j++)
            (transpose ? p[j * elements_per_row + i] : p[i * elements_per_row + j]) = m.rows[i][j];
}

namespace detail {
/* d = a b + c, in float32, one fused multiply-add a term, k ascending. */
template <class D, class A, class B, class C>
inline void multiply(D &d, const A &a, const B &b, const C &c)
{
    typedef float row __attribute__((ext_vector_type(8)));
    row sums[8], columns[8];
    for (int k = 0; k < 8; k++)
        columns[k] = __builtin_convertvector(b.rows[k], row);
    for (int i = 0; i < 8; i++) {
        const row left = __builtin_convertvector(a.rows[i], row);
        sums[i] = __builtin_convertvector(c.rows[i], row);
        for (int k = 0; k < 8; k++)
            sums[i] = __builtin_elementwise_fma((row)left[k], columns[k], sums[i]);
    }
    for (int i = 0; i < 8; i++)
        d.rows[i] = __builtin_convertvector(sums[i], decltype(+d.rows[i]));
}
} // namespace detail

template <class D, class A, class B, class C> SOFTMETAL_INLINE void simdgroup_multiply_accumulate(
    simdgroup_matrix<D, 8, 8> &d, const simdgroup_matrix<A, 8, 8> &a,
    const simdgroup_matrix<B, 8, 8> &b, const simdgroup_matrix<C, 8, 8> &c, SOFTMETAL_SITE)
{
    if (softmetal::lead(softmetal::OP_simdgroup_multiply_accumulate, line, file))
        detail::multiply(d, a, b, c);
}

template <class D, class A, class B>
SOFTMETAL_INLINE void simdgroup_multiply(simdgroup_matrix<D, 8, 8> &d,
                                         const simdgroup_matrix<A, 8, 8> &a,
                                         const simdgroup_matrix<B, 8, 8> &b, SOFTMETAL_SITE)
{
    if (!softmetal::lead(softmetal::OP_simdgroup_multiply, line, file))
        return;
    simdgroup_matrix<D, 8, 8> zero;
    for (int i = 0; i < 8; i++)
        zero.rows[i] = 0;
    detail::multiply(d, a, b, zero);
}

template <class T>
SOFTMETAL_INLINE simdgroup_matrix<T, 8, 8> operator*(const simdgroup_matrix<T, 8, 8> &a,
                                                     const simdgroup_matrix<T, 8, 8> &b)
{
    simdgroup_matrix<T, 8, 8> product;
    simdgroup_multiply(product, a, b);
    return product;
}

} // namespace metal
#endif
