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

#define V_TILE_TOKENS 12 /* tokens a prefill micro-kernel keeps in registers */

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
V_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
V_INLINE void vf_store_f16(uint16_t *p, vf a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
V_INLINE float v_f16(uint16_t x) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(x))); }
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
V_INLINE vf vf_pow2(vi n) /* 2^n, -126 <= n <= 127 */
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}

V_INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
V_INLINE vi vi_set(int32_t x) { return _mm512_set1_epi32(x); }
V_INLINE vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
V_INLINE void vi_store(int32_t *p, vi a) { _mm512_storeu_si512(p, a); }
V_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
V_INLINE int32_t vi_sum(vi a) { return _mm512_reduce_add_epi32(a); }

V_INLINE vh vh_load(const int16_t *p) { return _mm512_loadu_si512(p); }
V_INLINE void vh_store(int16_t *p, vh a) { _mm512_storeu_si512(p, a); }
V_INLINE vh vh_set(int16_t x) { return _mm512_set1_epi16(x); }
V_INLINE vh vh_set2(int16_t low, int16_t high) /* lanes 0..15 and 16..31 */
{
    return _mm512_inserti64x4(_mm512_set1_epi16(low), _mm256_set1_epi16(high), 1);
}
V_INLINE vh vh_load_u8(const uint8_t *p)
{
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
V_INLINE vh vh_load_i8(const int8_t *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
V_INLINE vh vh_load_u8_half(const uint8_t *p) /* 16 bytes to lanes 0..15, zero above */
{
    return _mm512_zextsi256_si512(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p)));
}
V_INLINE vh vh_load_nibbles(const uint8_t *p) /* 16 bytes: low nibbles to lanes 0..15, high above */
{
    __m256i bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    __m256i low = _mm256_and_si256(bytes, _mm256_set1_epi16(15));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_srli_epi16(bytes, 4), 1);
}
V_INLINE vh vh_and(vh a, vh b) { return _mm512_and_si512(a, b); }
V_INLINE vh vh_or(vh a, vh b) { return _mm512_or_si512(a, b); }
V_INLINE vh vh_add(vh a, vh b) { return _mm512_add_epi16(a, b); }
V_INLINE vh vh_sub(vh a, vh b) { return _mm512_sub_epi16(a, b); }
V_INLINE vh vh_mul(vh a, vh b) { return _mm512_mullo_epi16(a, b); }
#define vh_sll(a, n) _mm512_slli_epi16(a, n)
#define vh_srl(a, n) _mm512_srli_epi16(a, n)
V_INLINE vh vh_bits(uint32_t bits, int16_t x) /* x in the lanes whose bit is set, else 0 */
{
    return _mm512_maskz_set1_epi16(bits, x);
}
V_INLINE vh vh_lookup(const int8_t table[16], vh index) /* table[index], index 0..15 */
{
    __m512i bytes = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
    __m512i found = _mm512_shuffle_epi8(bytes, index); /* the high byte is dropped below */
    return _mm512_srai_epi16(_mm512_slli_epi16(found, 8), 8);
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
V_INLINE vi vi_cast(vh a) { return a; } /* the same bits: lanes 2i and 2i+1 are lane i */
V_INLINE vh vh_cast(vi a) { return a; }
V_INLINE vi vi_dot(vi acc, vh a, vh b) /* acc[i] + a[2i] b[2i] + a[2i+1] b[2i+1] */
{
#ifdef V_VNNI
    return _mm512_dpwssd_epi32(acc, a, b);
#else
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
#endif
}
V_INLINE float vf_sum(vf a) /* ((l + l8) + l4 ...): the order every instruction set keeps */
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
V_INLINE float vf_maximum(vf a) { return _mm512_reduce_max_ps(a); }
V_INLINE void vi_transpose16(vi m[16]) /* m[i] lane j and m[j] lane i change places */
{
    vi t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(m[i], m[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(m[i], m[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        m[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        m[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        m[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        m[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) { /* 4x4 blocks are done; now the blocks change places */
        vi a = _mm512_shuffle_i32x4(m[i], m[i + 4], 0x88);
        vi b = _mm512_shuffle_i32x4(m[i], m[i + 4], 0xdd);
        vi c = _mm512_shuffle_i32x4(m[i + 8], m[i + 12], 0x88);
        vi d = _mm512_shuffle_i32x4(m[i + 8], m[i + 12], 0xdd);
        t[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
    for (int i = 0; i < 16; i++) m[i] = t[i];
}
