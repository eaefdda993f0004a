/* The kernels for NEON with dot products of bytes (FEAT_DotProd): Armv8.2 and later, Apple's M1. */
#include "cpu/isa/prelude.h"

#if HAVE_NEONDOT
#define V_NAME neondot
#define V_BYTES
#define V_BYTE_TILES
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#include "cpu/simd/neon.h"

#include "cpu/kernels/kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
