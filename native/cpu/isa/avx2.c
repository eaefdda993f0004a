/* The kernels for avx2. */
#include "cpu/isa/prelude.h"

#if defined(__x86_64__)
#define V_NAME avx2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#include "cpu/simd/avx2.h"

#include "cpu/kernels/kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
