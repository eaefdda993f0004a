/* The kernels in plain C, for any machine. */
#include "cpu/isa/prelude.h"

#include "half.h"

#define V_NAME scalar
#include "cpu/simd/scalar.h"

#include "cpu/kernels/kernels.h"
