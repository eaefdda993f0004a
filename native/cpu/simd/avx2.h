/* The v_ primitives on AVX2 with FMA and F16C, and on AVX-VNNI where V_VNNI is defined: each logical
 * vector is two registers.
 * avx512.h says what each primitive does.
 */
#include <immintrin.h>

typedef struct { __m256 a, b; } vf;
typedef struct { __m256i a, b; } vi;
typedef struct { __m256i a, b; } vh;

#define V_TILE_TOKENS 4
#define V_TILE_GROUPS 1
#define V_DOT_TOKENS 2
#define V_HEADS 2
#define V_SUMS 6

#define V_EACH_F(a_, b_) ((vf){(a_), (b_)})
#define V_EACH_I(a_, b_) ((vi){(a_), (b_)})
#define V_EACH_H(a_, b_) ((vh){(a_), (b_)})
#define V_M128(p) _mm_loadu_si128((const __m128i *)(p))
#define V_M256(p) _mm256_loadu_si256((const __m256i *)(p))

V_INLINE vf vf_set(float x) { return V_EACH_F(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
V_INLINE vf vf_zero(void) { return vf_set(0.0f); }
V_INLINE vf vf_load(const float *p)
{
    return V_EACH_F(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
V_INLINE void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
V_INLINE vf vf_add(vf x, vf y) { return V_EACH_F(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
V_INLINE vf vf_sub(vf x, vf y) { return V_EACH_F(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
V_INLINE vf vf_mul(vf x, vf y) { return V_EACH_F(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
V_INLINE vf vf_div(vf x, vf y) { return V_EACH_F(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
V_INLINE vf vf_max(vf x, vf y) { return V_EACH_F(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)); }
V_INLINE vf vf_min(vf x, vf y) { return V_EACH_F(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)); }
V_INLINE vf vf_abs(vf x)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return V_EACH_F(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}
V_INLINE vf vf_fma(vf x, vf y, vf z)
{
    return V_EACH_F(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
V_INLINE vf vf_fma_at(vf acc, vf a, const float *p) { return vf_fma(vf_set(*p), a, acc); }
V_INLINE __m256 turn_eight(__m256 x, __m256 by)
{
    __m256 second = _mm256_mul_ps(_mm256_movehdup_ps(x), _mm256_permute_ps(by, 0xb1));
    return _mm256_fmaddsub_ps(_mm256_moveldup_ps(x), by, second);
}
V_INLINE vf vf_turn(vf x, vf by) { return V_EACH_F(turn_eight(x.a, by.a), turn_eight(x.b, by.b)); }
V_INLINE vf vf_load_f16(const uint16_t *p)
{
    return V_EACH_F(_mm256_cvtph_ps(V_M128(p)), _mm256_cvtph_ps(V_M128(p + 8)));
}
V_INLINE float v_f16(uint16_t x) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(x))); }
V_INLINE void vf_store_f16(uint16_t *p, vf x)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, NEAREST));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, NEAREST));
}
V_INLINE vf vf_load_bf16(const uint16_t *p)
{
    __m256i a = _mm256_slli_epi32(_mm256_cvtepu16_epi32(V_M128(p)), 16);
    __m256i b = _mm256_slli_epi32(_mm256_cvtepu16_epi32(V_M128(p + 8)), 16);
    return V_EACH_F(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
}
V_INLINE vf vf_from_vi(vi x) { return V_EACH_F(_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)); }
V_INLINE vi vi_round(vf x) { return V_EACH_I(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)); }
V_INLINE vf vf_round(vf x)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return V_EACH_F(_mm256_round_ps(x.a, NEAREST), _mm256_round_ps(x.b, NEAREST));
}
V_INLINE vf vf_pow2(vi n)
{
    __m256i bias = _mm256_set1_epi32(127);
    return V_EACH_F(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n.a, bias), 23)),
                    _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n.b, bias), 23)));
}
V_INLINE float vf_sum(vf x)
{
    __m256 h = _mm256_add_ps(x.a, x.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
V_INLINE float vf_maximum(vf x)
{
    __m256 h = _mm256_max_ps(x.a, x.b);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}

V_INLINE vi vi_set(int32_t x) { return V_EACH_I(_mm256_set1_epi32(x), _mm256_set1_epi32(x)); }
V_INLINE vi vi_zero(void) { return vi_set(0); }
V_INLINE vi vi_mul(vi x, vi y)
{
    return V_EACH_I(_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b));
}
V_INLINE vi vi_add(vi x, vi y)
{
    return V_EACH_I(_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b));
}
V_INLINE int32_t vi_sum(vi x)
{
    __m256i h = _mm256_add_epi32(x.a, x.b);
    __m128i q = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
}

V_INLINE vh vh_load(const int16_t *p) { return V_EACH_H(V_M256(p), V_M256(p + 16)); }
V_INLINE void vh_store(int16_t *p, vh x)
{
    _mm256_storeu_si256((__m256i *)p, x.a);
    _mm256_storeu_si256((__m256i *)(p + 16), x.b);
}
V_INLINE vh vh_set(int16_t x) { return V_EACH_H(_mm256_set1_epi16(x), _mm256_set1_epi16(x)); }
V_INLINE vh vh_unknown(vh x)
{
    __asm__("" : "+x"(x.a), "+x"(x.b));
    return x;
}
V_INLINE vh vh_load_u8(const uint8_t *p)
{
    return V_EACH_H(_mm256_cvtepu8_epi16(V_M128(p)), _mm256_cvtepu8_epi16(V_M128(p + 16)));
}
V_INLINE vh vh_load_i8(const int8_t *p)
{
    return V_EACH_H(_mm256_cvtepi8_epi16(V_M128(p)), _mm256_cvtepi8_epi16(V_M128(p + 16)));
}
V_INLINE vh vh_and(vh x, vh y)
{
    return V_EACH_H(_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b));
}
V_INLINE vh vh_or(vh x, vh y)
{
    return V_EACH_H(_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b));
}
V_INLINE vh vh_or_masked(vh x, vh y, vh mask) { return vh_or(x, vh_and(y, mask)); }
V_INLINE vh vh_sub(vh x, vh y)
{
    return V_EACH_H(_mm256_sub_epi16(x.a, y.a), _mm256_sub_epi16(x.b, y.b));
}
V_INLINE vh vh_mul(vh x, vh y)
{
    return V_EACH_H(_mm256_mullo_epi16(x.a, y.a), _mm256_mullo_epi16(x.b, y.b));
}
typedef uint16_t v_u16 __attribute__((vector_size(32)));
typedef int16_t v_i16 __attribute__((vector_size(32)));
V_INLINE vh vh_sll(vh x, int n)
{
    return V_EACH_H((__m256i)((v_u16)x.a << n), (__m256i)((v_u16)x.b << n));
}
V_INLINE vh vh_srl(vh x, int n)
{
    return V_EACH_H((__m256i)((v_u16)x.a >> n), (__m256i)((v_u16)x.b >> n));
}
V_INLINE vh vh_sra(vh x, int n)
{
    return V_EACH_H((__m256i)((v_i16)x.a >> n), (__m256i)((v_i16)x.b >> n));
}
V_INLINE vh vh_lookup(const uint8_t table[16], vh index)
{
    __m256i bytes = _mm256_broadcastsi128_si256(V_M128(table));
    return V_EACH_H(_mm256_shuffle_epi8(bytes, index.a), _mm256_shuffle_epi8(bytes, index.b));
}
V_INLINE vi vi_half(vh x, int half)
{
    __m256i a = half ? x.a : _mm256_slli_epi32(x.a, 16), b = half ? x.b : _mm256_slli_epi32(x.b, 16);
    return V_EACH_I(_mm256_srai_epi32(a, 16), _mm256_srai_epi32(b, 16));
}
V_INLINE __m256i v_twice(__m256i a, int half)
{
    const __m256i once = half ? _mm256_srli_epi32(a, 16) : a;
    return _mm256_blend_epi16(once, half ? a : _mm256_slli_epi32(a, 16), 0xaa);
}
V_INLINE vh vh_twice(vh x, int half) { return V_EACH_H(v_twice(x.a, half), v_twice(x.b, half)); }
V_INLINE vh vh_from_vi(vi x, vi y)
{
    return V_EACH_H(_mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8),
                    _mm256_permute4x64_epi64(_mm256_packs_epi32(y.a, y.b), 0xd8));
}
V_INLINE vh vh_broadcast2(const int16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return V_EACH_H(_mm256_set1_epi32(pair), _mm256_set1_epi32(pair));
}
V_INLINE vi vi_dot(vi acc, vh x, vh y)
{
#ifdef V_VNNI
    __m256i a = acc.a, b = acc.b; /* not the intrinsic, for the reason that avx512.h gives */
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(a) : "x"(x.a), "x"(y.a));
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(b) : "x"(x.b), "x"(y.b));
    return V_EACH_I(a, b);
#else
    return V_EACH_I(_mm256_add_epi32(acc.a, _mm256_madd_epi16(x.a, y.a)),
                    _mm256_add_epi32(acc.b, _mm256_madd_epi16(x.b, y.b)));
#endif
}
V_INLINE vi vi_dot_on(vi acc, vh x, vh y)
{
#ifdef V_VNNI
    return vi_dot(acc, x, y);
#else
    __m256i a = acc.a, b = acc.b;
    __asm__("vpaddd %1, %0, %0" : "+x"(a) : "x"(_mm256_madd_epi16(x.a, y.a)));
    __asm__("vpaddd %1, %0, %0" : "+x"(b) : "x"(_mm256_madd_epi16(x.b, y.b)));
    return V_EACH_I(a, b);
#endif
}
V_INLINE vi vi_dot_at(vi acc, vh x, const int16_t *p) { return vi_dot_on(acc, x, vh_broadcast2(p)); }

#define V_BYTES
#define V_UNSIGNED
#define V_SHORT_SUMS 1
typedef vh vb;

V_INLINE vb vb_of(vh x) { return x; }
V_INLINE vh vh_xor(vh x, vh y)
{
    return V_EACH_H(_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b));
}
V_INLINE void vh_store_bytes(int8_t *p, vh x)
{
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(x.a, x.b), 0xd8);
    _mm256_storeu_si256((__m256i *)p, _mm256_shuffle_epi8(bytes, order));
}
V_INLINE vh vh_even_bytes(vh x, int half)
{
    const __m128i first = _mm_setr_epi8(0, -1, 0, -1, 4, -1, 4, -1, 8, -1, 8, -1, 12, -1, 12, -1);
    const __m128i second = _mm_setr_epi8(2, -1, 2, -1, 6, -1, 6, -1, 10, -1, 10, -1, 14, -1, 14, -1);
    const __m256i places = _mm256_broadcastsi128_si256(half ? second : first);
    return V_EACH_H(_mm256_shuffle_epi8(x.a, places), _mm256_shuffle_epi8(x.b, places));
}
V_INLINE vh vh_dot_bytes(vb x, vh y)
{
    return V_EACH_H(_mm256_maddubs_epi16(x.a, y.a), _mm256_maddubs_epi16(x.b, y.b));
}
V_INLINE vi vi_sll(vi x, int n)
{
    return V_EACH_I(_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n));
}
V_INLINE __m256i v_broadcast4(const int8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}
#ifdef V_VNNI
#define V_NARROW_SUMS 0
typedef vi vq;

V_INLINE vq vq_zero(void) { return vi_zero(); }
V_INLINE vi vi_from_vq(vq x) { return x; }
V_INLINE vq vq_dot4(vq acc, vb x, const int8_t *p)
{
    __m256i y = v_broadcast4(p), a = acc.a, b = acc.b;
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(a) : "x"(x.a), "x"(y));
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(b) : "x"(x.b), "x"(y));
    return V_EACH_I(a, b);
}
V_INLINE vi vq_scaled(vi acc, vq x, vq y, vh scales)
{
    vh pairs = V_EACH_H(_mm256_blend_epi16(x.a, _mm256_slli_epi32(y.a, 16), 0xaa),
                        _mm256_blend_epi16(x.b, _mm256_slli_epi32(y.b, 16), 0xaa));
    return vi_dot(acc, pairs, scales);
}
#else
#define V_NARROW_SUMS 1
typedef vh vq;

V_INLINE vq vq_zero(void) { return vh_set(0); }
V_INLINE vi vi_from_vq(vq x)
{
    const __m256i one = _mm256_set1_epi16(1);
    return V_EACH_I(_mm256_madd_epi16(x.a, one), _mm256_madd_epi16(x.b, one));
}
V_INLINE vq vq_dot4(vq acc, vb x, const int8_t *p)
{
    const __m256i y = v_broadcast4(p);
    return V_EACH_H(_mm256_add_epi16(acc.a, _mm256_maddubs_epi16(x.a, y)),
                    _mm256_add_epi16(acc.b, _mm256_maddubs_epi16(x.b, y)));
}
V_INLINE vi vq_scaled(vi acc, vq x, vq y, vh scales)
{
    return vi_dot(vi_dot(acc, x, vh_twice(scales, 0)), y, vh_twice(scales, 1));
}
#endif
