/* What a kernel is put together from becomes one function, with its traits as constants. Left to itself,
 * gcc shares one copy among formats, which took twice as long to pack a matrix. Not where nothing is
 * optimised: there every copy would be compiled as it stands, for minutes. */
#if !defined(V_INLINE) && defined(__OPTIMIZE__)
#define V_INLINE static inline __attribute__((always_inline))
#elif !defined(V_INLINE)
#define V_INLINE static inline
#endif
