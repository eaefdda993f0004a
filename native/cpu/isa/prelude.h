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

#include "cpu/inline.h"

/* Compilers that know AVX-VNNI: gcc since 11, clang since 12 (Apple counts one ahead). */
#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 13 : __GNUC__ >= 11)
#define HAVE_AVXVNNI 1
#else
#define HAVE_AVXVNNI 0
#endif

/* Compilers that know AMX: gcc since 11, clang since 12. Only Linux lets a program ask for it here. */
#if defined(__x86_64__) && defined(__linux__) \
    && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAVE_AMX 1
#else
#define HAVE_AMX 0
#endif

/* Compilers that know NEON's dot products in a region: clang's arm_neon.h hides them before 16 (Apple's
 * 15) unless the whole unit is compiled for them. */
#if defined(__aarch64__) \
    && (defined(__clang__) ? defined(__ARM_FEATURE_DOTPROD) || __clang_major__ >= 16 : __GNUC__ >= 8)
#define HAVE_NEONDOT 1
#else
#define HAVE_NEONDOT 0
#endif
