/* The kernels for NEON, which every arm64 machine has. */
#include "cpu/isa/prelude.h"

#if defined(__aarch64__)
#define V_NAME neon
#include "cpu/simd/neon.h"

#include "cpu/kernels/kernels.h"
#endif
