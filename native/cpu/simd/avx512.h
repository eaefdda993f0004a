/* The v_ primitives on AVX-512 (F, BW, DQ, VL), and on AVX-512-VNNI where V_VNNI is defined.
 *
 * Every instruction set offers the same three logical vectors of 512 bits, so that a kernel is
 * written once and rounds alike everywhere:
 *   vf  16 float32      vi  16 int32      vh  32 int16
 * Here each is one register.
 */
#include <immintrin.h>

typedef __m512 vf;
typedef __m512i vi;
typedef __m512i vh;

#ifdef V_AMX
#define V_TILE_TOKENS 16 /* tokens that a micro-kernel keeps in registers: of unpacked blocks */
#else
#define V_TILE_TOKENS 12
#endif
#define V_TILE_GROUPS 2 /* and groups of 16 rows beside each other */
#define V_DOT_TOKENS 8  /* and of blocks that it unpacks on the way */
#define V_HEADS 8        /* query heads whose sums with one page run side by side */
#define V_SUMS 12        /* sums that keep every unit busy and still lie in registers: see limits.h */

V_INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
V_INLINE vf vf_set(float x) { return _mm512_set1_ps(x); }
V_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
V_INLINE void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
V_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
V_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
V_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
V_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
V_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
V_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
V_INLINE vf vf_abs(vf a) { return _mm512_abs_ps(a); }
V_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
V_INLINE vf vf_fma_at(vf acc, vf a, const float *p) /* acc + a p[0] */
{
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(a), "m"(*p));
    return acc;
}
/* Pairs of neighbours (x, y) turned by (cos, sin): (x cos - y sin, x sin + y cos), the second product of
 * each rounded before the first is added. */
V_INLINE vf vf_turn(vf a, vf by)
{
    vf second = _mm512_mul_ps(_mm512_movehdup_ps(a), _mm512_permute_ps(by, 0xb1));
    return _mm512_fmaddsub_ps(_mm512_moveldup_ps(a), by, second);
}
V_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
V_INLINE float v_f16(uint16_t x) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(x))); }
V_INLINE void vf_store_f16(uint16_t *p, vf a)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, NEAREST));
}
V_INLINE vf vf_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
V_INLINE vf vf_from_vi(vi a) { return _mm512_cvtepi32_ps(a); }
V_INLINE vi vi_round(vf a) { return _mm512_cvtps_epi32(a); }
V_INLINE vf vf_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
V_INLINE vf vf_pow2(vi n) /* 2^n, -126 <= n <= 127, and infinity for 128 */
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}

V_INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
V_INLINE vi vi_set(int32_t x) { return _mm512_set1_epi32(x); }
V_INLINE vi vi_mul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
V_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
V_INLINE int32_t vi_sum(vi a) { return _mm512_reduce_add_epi32(a); }

V_INLINE vh vh_load(const int16_t *p) { return _mm512_loadu_si512(p); }
V_INLINE void vh_store(int16_t *p, vh a) { _mm512_storeu_si512(p, a); }
V_INLINE vh vh_set(int16_t x) { return _mm512_set1_epi16(x); }
V_INLINE vh vh_unknown(vh a) /* a, of which the compiler no longer knows what it is */
{
    __asm__("" : "+v"(a));
    return a;
}
V_INLINE vh vh_load_u8(const uint8_t *p)
{
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
V_INLINE vh vh_load_i8(const int8_t *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
V_INLINE vh vh_and(vh a, vh b) { return _mm512_and_si512(a, b); }
V_INLINE vh vh_or(vh a, vh b) { return _mm512_or_si512(a, b); }
V_INLINE vh vh_or_masked(vh a, vh b, vh mask) /* a | (b & mask) */
{
    return _mm512_ternarylogic_epi32(a, b, mask, 0xf8);
}
V_INLINE vh vh_sub(vh a, vh b) { return _mm512_sub_epi16(a, b); }
V_INLINE vh vh_mul(vh a, vh b) { return _mm512_mullo_epi16(a, b); }
/* Shifts through vector types: a count that is constant after unrolling becomes an immediate. */
typedef uint16_t v_u16 __attribute__((vector_size(64)));
typedef int16_t v_i16 __attribute__((vector_size(64)));
V_INLINE vh vh_sll(vh a, int n) { return (vh)((v_u16)a << n); }
V_INLINE vh vh_srl(vh a, int n) { return (vh)((v_u16)a >> n); }
V_INLINE vh vh_sra(vh a, int n) { return (vh)((v_i16)a >> n); }
V_INLINE vh vh_lookup(const uint8_t table[16], vh index) /* table[0] must be 0 */
{
    __m512i bytes = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
    return _mm512_shuffle_epi8(bytes, index); /* the high bytes of index are 0, and stay so */
}
V_INLINE vi vi_half(vh a, int half) /* a[half], a[2 + half], ... */
{
    return _mm512_srai_epi32(half ? a : _mm512_slli_epi32(a, 16), 16);
}
V_INLINE vh vh_twice(vh a, int half) /* a[half], a[half], a[2 + half], a[2 + half], ... */
{
    const __m512i once = half ? _mm512_srli_epi32(a, 16) : a;
    return _mm512_mask_blend_epi16(0xaaaaaaaa, once, half ? a : _mm512_slli_epi32(a, 16));
}
V_INLINE vh vh_from_vi(vi a, vi b) /* 16 and 16 int32 that fit, in order */
{
    __m256i low = _mm512_cvtsepi32_epi16(a), high = _mm512_cvtsepi32_epi16(b);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
V_INLINE vh vh_broadcast2(const int16_t *p) /* the two int16 at p, sixteen times */
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
}
V_INLINE vi vi_dot(vi acc, vh a, vh b) /* acc[i] + a[2i] b[2i] + a[2i+1] b[2i+1] */
{
#ifdef V_VNNI
    /* not the intrinsic: with many sums gcc keeps each of them twice, once a type, and spills */
    __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
#else
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
#endif
}
/* vi_dot for a sum that goes from turn to turn of a loop: added by an intrinsic, gcc copies it to a
 * second register and back in every turn, 24 copies beside 62 instructions that count. */
V_INLINE vi vi_dot_on(vi acc, vh a, vh b)
{
#ifdef V_VNNI
    return vi_dot(acc, a, b);
#else
    __asm__("vpaddd %1, %0, %0" : "+v"(acc) : "v"(_mm512_madd_epi16(a, b)));
    return acc;
#endif
}
/* vi_dot_on with the two int16 at p, for each of the sixteen. */
V_INLINE vi vi_dot_at(vi acc, vh a, const int16_t *p)
{
#ifdef V_VNNI
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(a), "m"(*(const int16_t(*)[2])p));
    return acc;
#else
    return vi_dot_on(acc, a, vh_broadcast2(p));
#endif
}
/* vi_dot of x and of y with the pairs at q, q + stride, ..., of four tokens. In one piece: otherwise gcc
 * moves loads and copies sums. And volatile, so that what a caller unpacks for the next products comes
 * before these, since a processor takes what is ready in the order it was written. With VNNI every
 * second pair is taken from memory by its products: an instruction less and a load more. With none,
 * instructions are the limit where another thread shares the core, with all of them loads. */
V_INLINE void vi_dot_four(vi *x0, vi *x1, vi *x2, vi *x3, vi *y0, vi *y1, vi *y2, vi *y3, vh x, vh y,
                          const int16_t *q, int stride)
{
#define LOAD(k) "vpbroadcastd %[q" #k "], %[pair]\n\t"
#ifdef V_VNNI
#define DOT(from, sum, a) "vpdpwssd " from ", %[" a "], %[" sum "]\n\t"
#define AT(k) "%[q" #k "]%{1to16%}"
#define ODD(k) DOT(AT(k), "x" #k, "x") DOT(AT(k), "y" #k, "y")
#else
#define DOT(from, sum, a)                                                                          \
    "vpmaddwd " from ", %[" a "], %[dot]\n\tvpaddd %[dot], %[" sum "], %[" sum "]\n\t"
#define ODD(k) EVEN(k)
#endif
#define EVEN(k) LOAD(k) DOT("%[pair]", "x" #k, "x") DOT("%[pair]", "y" #k, "y")
#define PAIR(k) [q##k] "m"(*(const int16_t(*)[2])(q + k * stride))
    __m512i pair, dot = x;
    __asm__ volatile(EVEN(0) ODD(1) EVEN(2) ODD(3)
                     : [x0] "+v"(*x0), [x1] "+v"(*x1), [x2] "+v"(*x2), [x3] "+v"(*x3),
                       [y0] "+v"(*y0), [y1] "+v"(*y1), [y2] "+v"(*y2), [y3] "+v"(*y3),
#ifndef V_VNNI
                       [dot] "=&v"(dot),
#endif
                       [pair] "=&v"(pair)
                     : [x] "v"(x), [y] "v"(y), PAIR(0), PAIR(1), PAIR(2), PAIR(3));
    (void)dot;
#undef LOAD
#undef DOT
#undef AT
#undef EVEN
#undef ODD
#undef PAIR
}
#ifndef V_AMX /* which has tiles of its own */
#include "cpu/simd/avx512_tile.h"
#endif
V_INLINE float vf_sum(vf a) /* ((l + l8) + l4 ...): the order every instruction set keeps */
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
V_INLINE float vf_maximum(vf a) { return _mm512_reduce_max_ps(a); }

#define V_BYTES    /* products of bytes: matmul_bytes.h */
#define V_UNSIGNED /* of an unsigned one and a signed one */
#define V_SHORT_SUMS 1
typedef __m512i vb; /* 64 bytes, four of each row */

V_INLINE vb vb_of(vh a) { return a; } /* the same bits */
V_INLINE vh vh_xor(vh a, vh b) { return _mm512_xor_si512(a, b); }
/* 32 int16 that fit, as int8, the middle two of each four in each other's place. */
V_INLINE void vh_store_bytes(int8_t *p, vh a)
{
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    _mm256_storeu_si256((__m256i *)p, _mm256_shuffle_epi8(_mm512_cvtepi16_epi8(a), order));
}
V_INLINE vh vh_even_bytes(vh a, int half) /* as bytes, of every row: a[half], 0, a[half], 0 */
{
    const __m128i first = _mm_setr_epi8(0, -1, 0, -1, 4, -1, 4, -1, 8, -1, 8, -1, 12, -1, 12, -1);
    const __m128i second = _mm_setr_epi8(2, -1, 2, -1, 6, -1, 6, -1, 10, -1, 10, -1, 14, -1, 14, -1);
    return _mm512_shuffle_epi8(a, _mm512_broadcast_i32x4(half ? second : first));
}
V_INLINE vh vh_dot_bytes(vb a, vh b) /* of bytes, a's unsigned: a[2i] b[2i] + a[2i+1] b[2i+1], which fits */
{
    return _mm512_maddubs_epi16(a, b);
}
V_INLINE vi vi_sll(vi a, int n) { return _mm512_slli_epi32(a, (unsigned)n); }

/* vq_dot4(acc, a, p): of every row, acc + a[0] p[0] + ... + a[3] p[3].
 * vq_scaled(acc, a, b, scales): of row r, acc + a scales[2r] + b scales[2r + 1]; a and b fit int16. */
#ifdef V_VNNI
#define V_NARROW_SUMS 0
typedef vi vq;

V_INLINE vq vq_zero(void) { return vi_zero(); }
V_INLINE vi vi_from_vq(vq a) { return a; }
V_INLINE vq vq_dot4(vq acc, vb a, const int8_t *p)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(a), "m"(*(const int8_t(*)[4])p));
    return acc;
}
V_INLINE vi vq_scaled(vi acc, vq a, vq b, vh scales)
{
    return vi_dot(acc, _mm512_mask_blend_epi16(0xaaaaaaaa, a, _mm512_slli_epi32(b, 16)), scales);
}
#else
#define V_NARROW_SUMS 1
typedef vh vq;

V_INLINE vq vq_zero(void) { return vi_zero(); }
V_INLINE vi vi_from_vq(vq a) { return _mm512_madd_epi16(a, _mm512_set1_epi16(1)); }
V_INLINE vq vq_dot4(vq acc, vb a, const int8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_add_epi16(acc, _mm512_maddubs_epi16(a, _mm512_set1_epi32(four)));
}
V_INLINE vi vq_scaled(vi acc, vq a, vq b, vh scales)
{
    return vi_dot(vi_dot(acc, a, vh_twice(scales, 0)), b, vh_twice(scales, 1));
}
#endif
