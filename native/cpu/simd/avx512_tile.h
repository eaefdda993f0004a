/* The inner loop of prefill on AVX-512, in assembly: 12 tokens times two groups of 16 rows leave no
 * compiler a register to lose, and gcc loses a dozen.
 *
 * zmm8 to zmm31 are the sums, two a token; zmm0 and zmm1 a pair of weights of either group, zmm2 a pair
 * of activations. With VNNI the products of every second token take their activations from memory
 * themselves: 33 instructions a pair instead of 39, for 20 loads instead of 14. With more of that, loads
 * are the limit.
 */
#define V_TILE_KERNEL

#define TOKENS(EVEN, ODD, u)                                                                       \
    EVEN(0, 8, 9, u) ODD(1, 10, 11, u) EVEN(2, 12, 13, u) ODD(3, 14, 15, u) EVEN(4, 16, 17, u)     \
    ODD(5, 18, 19, u) EVEN(6, 20, 21, u) ODD(7, 22, 23, u) EVEN(8, 24, 25, u) ODD(9, 26, 27, u)    \
    EVEN(10, 28, 29, u) ODD(11, 30, 31, u)
#define ZERO(k, x, y, u)                                                                           \
    "vpxord %%zmm" #x ", %%zmm" #x ", %%zmm" #x "\n\tvpxord %%zmm" #y ", %%zmm" #y ", %%zmm" #y    \
    "\n\t"
#define AT(k, u) "4*" #k "+48*" #u "(%[q])"
#ifdef V_VNNI
#define DOT(from, weights, sum) "vpdpwssd " from ", %%zmm" #weights ", %%zmm" #sum "\n\t"
#define FROM_MEMORY(k, x, y, u) DOT(AT(k, u) "%{1to16%}", 0, x) DOT(AT(k, u) "%{1to16%}", 1, y)
#else
#define DOT(from, weights, sum)                                                                    \
    "vpmaddwd " from ", %%zmm" #weights ", %%zmm3\n\tvpaddd %%zmm3, %%zmm" #sum ", %%zmm" #sum "\n\t"
#define FROM_MEMORY LOADED
#endif
#define LOADED(k, x, y, u)                                                                         \
    "vpbroadcastd " AT(k, u) ", %%zmm2\n\t" DOT("%%zmm2", 0, x) DOT("%%zmm2", 1, y)
/* pair u of a turn; `at` counts up to zero */
#define PAIR(u)                                                                                    \
    "vmovdqa64 64*" #u "(%[a],%[at]), %%zmm0\n\tvmovdqa64 64*" #u "(%[b],%[at]), %%zmm1\n\t"       \
    TOKENS(LOADED, FROM_MEMORY, u)
#define ADD(k, sum, scale, to)                                                                     \
    "vcvtdq2ps %%zmm" #sum ", %%zmm" #sum "\n\t"                                                   \
    "vmulps 4*" #k "(%[d])%{1to16%}, %%zmm" #scale ", %%zmm2\n\t"                                  \
    "vfmadd213ps 64*" #k "(%[" to "]), %%zmm2, %%zmm" #sum "\n\t"                                  \
    "vmovups %%zmm" #sum ", 64*" #k "(%[" to "])\n\t"
#define END(k, x, y, u) ADD(k, x, 0, "y") ADD(k, y, 1, "z")

/* Of 12 tokens, groups a and b: d times scale times the sum of n_pairs products, added to y and z
 * [12, 16]. a and b are [n_pairs, 16, 2] on lines of the cache, q is [n_pairs, 12, 2]. */
V_INLINE void v_tile_kernel(const int16_t (*a)[32], const int16_t (*b)[32], int n_pairs,
                            const int16_t *q, const float *d, const float *a_scale,
                            const float *b_scale, float *y, float *z)
{
    int64_t at = -(int64_t)sizeof *a * n_pairs;
    if (n_pairs < 1) return;
    __asm__ volatile(TOKENS(ZERO, ZERO, 0)
                     "test $64, %[at]\n\tjz 1f\n\t" PAIR(0)
                     "add $48, %[q]\n\tadd $64, %[at]\n\tjz 2f\n\t"
                     ".p2align 5\n1:\n\t" PAIR(0) PAIR(1)
                     "add $96, %[q]\n\tadd $128, %[at]\n\tjnz 1b\n"
                     "2:\n\tvmovups (%[a_scale]), %%zmm0\n\tvmovups (%[b_scale]), %%zmm1\n\t"
                     TOKENS(END, END, 0)
                     : [q] "+r"(q), [at] "+r"(at)
                     : [a] "r"(a + n_pairs), [b] "r"(b + n_pairs), [d] "r"(d),
                       [a_scale] "r"(a_scale), [b_scale] "r"(b_scale), [y] "r"(y), [z] "r"(z)
                     : "cc", "memory", "zmm0", "zmm1", "zmm2", "zmm3", "zmm8", "zmm9", "zmm10", "zmm11",
                       "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20",
                       "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27", "zmm28", "zmm29",
                       "zmm30", "zmm31");
}

#undef TOKENS
#undef ZERO
#undef DOT
#undef AT
#undef FROM_MEMORY
#undef LOADED
#undef PAIR
#undef ADD
#undef END
