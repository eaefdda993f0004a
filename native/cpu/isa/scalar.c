/* The kernels in plain C, for any machine. */
#define V_INLINE static inline /* forced into each other, arrays for vectors compile for a minute */
#include "cpu/isa/prelude.h"

#include "half.h"

#define V_NAME scalar
#include "cpu/simd/scalar.h"

#include "cpu/kernels/kernels.h"
