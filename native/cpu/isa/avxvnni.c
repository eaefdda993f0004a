/* The kernels for AVX2 with AVX-VNNI: vpdpwssd on 256 bits, for machines without AVX-512. */
#include "cpu/isa/prelude.h"

#if HAVE_AVXVNNI
#define V_NAME avxvnni
#define V_VNNI
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avxvnni,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avxvnni,avx2,fma,f16c")
#endif

#include "cpu/simd/avx2.h"

#include "cpu/kernels/kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
