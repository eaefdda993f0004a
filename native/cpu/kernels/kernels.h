/* All ops of one instruction set. An isa/ unit includes this inside its target region, after the
 * v_ primitives, with V_NAME the instruction set's name; every function is local to the unit. */

#define V_SIMD
#include "cpu/internal.h"

/* A loop whose index selects shifts and registers has to disappear, where there are registers. */
#if defined(V_SCALAR)
#define V_UNROLL
#elif defined(__clang__)
#define V_UNROLL _Pragma("clang loop unroll(full)")
#else
#define V_UNROLL _Pragma("GCC unroll 256")
#endif

#if defined(__clang__)
#define V_KEEP_LOOP _Pragma("clang loop unroll(disable)")
#else
#define V_KEEP_LOOP _Pragma("GCC unroll 1")
#endif

/* As asm they stay where they are written. gcc gathers builtins, and takes a register for each address
 * instead of one for all. */
#if defined(__x86_64__)
#define V_PREFETCH(p) __asm__ volatile("prefetcht0 %0" ::"m"(*(const char *)(p)))
#define V_PREFETCH_L2(p) __asm__ volatile("prefetcht1 %0" ::"m"(*(const char *)(p)))
#else
#define V_PREFETCH(p) __builtin_prefetch(p)
#define V_PREFETCH_L2(p) __builtin_prefetch(p, 0, 2)
#endif

#include "cpu/kernels/vector.h"

#include "cpu/kernels/activations.h"
#include "cpu/kernels/matmul_float.h"
#include "cpu/kernels/matmul_quantised.h"

#include "cpu/kernels/attention.h"
#include "cpu/kernels/embed.h"
#include "cpu/kernels/matmul.h"
#include "cpu/kernels/rope.h"

#include "cpu/kernels/elementwise.h"

#include "cpu/kernels/limits.h"
#include "cpu/kernels/statistics.h"

#define V_TABLE_(name) kernels_##name
#define V_TABLE(name) V_TABLE_(name)
const kernel_table V_TABLE(V_NAME) = {
    .ops = {
#define OP(name, ...) [OP_##name] = op_##name,
#include "ops.def"
    },
    .tiles = {V_TILE_TOKENS, V_TILE_GROUPS * GROUP_ROWS, V_DOT_TOKENS, V_HEADS},
    .statistics = statistics,
    .limits = {limit_read, limit_fma, limit_dot, FMA_OPERATIONS, DOT_OPERATIONS},
};
