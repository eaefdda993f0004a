/* What comes before a target region: system headers, whose inline functions must not be compiled
 * for an instruction set that the machine may lack. gcc keeps the targets of a region apart by
 * `#pragma GCC target`, clang by an attribute on every function in it. */
#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define V_INLINE static inline __attribute__((always_inline))

/* A loop whose index selects shifts and registers: it has to disappear. */
#if defined(__clang__)
#define V_UNROLL _Pragma("clang loop unroll(full)")
#else
#define V_UNROLL _Pragma("GCC unroll 256")
#endif
