/* The kernels for AVX-512-VNNI with AMX-INT8: Sapphire Rapids and later. */
#include "cpu/isa/prelude.h"

#if HAVE_AMX
#define V_NAME amx
#define V_VNNI
#define V_AMX
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("amx-tile,amx-int8,avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("amx-tile,amx-int8,avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif

#include "cpu/simd/avx512.h"

#include "cpu/simd/amx.h"

#include "cpu/kernels/kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
