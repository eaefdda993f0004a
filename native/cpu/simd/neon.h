/* The v_ primitives on NEON (arm64), and with its dot products of bytes where V_BYTES is defined: each
 * logical vector is four registers. avx512.h says what each primitive does.
 */
#include <arm_neon.h>

typedef struct { float32x4_t x[4]; } vf;
typedef struct { int32x4_t x[4]; } vi;
typedef struct { int16x8_t x[4]; } vh;

#ifdef V_BYTES
#define V_SHORT_SUMS 0
#define V_NARROW_SUMS 0
#define V_TILE_TOKENS 3 /* of eight registers each: the sums of a sub-block and the scaled ones */
#define V_DOT_TOKENS 1
#else
#define V_TILE_TOKENS 4
#define V_DOT_TOKENS 4
#endif
#define V_TILE_GROUPS 1
#define V_HEADS 2
#define V_SUMS 6

#define V_MAP_F(expression) vf r; for (int i = 0; i < 4; i++) r.x[i] = (expression); return r
#define V_MAP_I(expression) vi r; for (int i = 0; i < 4; i++) r.x[i] = (expression); return r
#define V_MAP_H(expression) vh r; for (int i = 0; i < 4; i++) r.x[i] = (expression); return r

V_INLINE vf vf_set(float x) { V_MAP_F(vdupq_n_f32(x)); }
V_INLINE vf vf_zero(void) { return vf_set(0.0f); }
V_INLINE vf vf_load(const float *p) { V_MAP_F(vld1q_f32(p + 4 * i)); }
V_INLINE void vf_store(float *p, vf a)
{
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.x[i]);
}
V_INLINE vf vf_add(vf a, vf b) { V_MAP_F(vaddq_f32(a.x[i], b.x[i])); }
V_INLINE vf vf_sub(vf a, vf b) { V_MAP_F(vsubq_f32(a.x[i], b.x[i])); }
V_INLINE vf vf_mul(vf a, vf b) { V_MAP_F(vmulq_f32(a.x[i], b.x[i])); }
V_INLINE vf vf_div(vf a, vf b) { V_MAP_F(vdivq_f32(a.x[i], b.x[i])); }
/* vmaxq would return NaN where x86 returns its second operand */
V_INLINE vf vf_max(vf a, vf b) { V_MAP_F(vbslq_f32(vcgtq_f32(a.x[i], b.x[i]), a.x[i], b.x[i])); }
V_INLINE vf vf_min(vf a, vf b) { V_MAP_F(vbslq_f32(vcltq_f32(a.x[i], b.x[i]), a.x[i], b.x[i])); }
V_INLINE vf vf_abs(vf a) { V_MAP_F(vabsq_f32(a.x[i])); }
V_INLINE vf vf_fma(vf a, vf b, vf c) { V_MAP_F(vfmaq_f32(c.x[i], a.x[i], b.x[i])); }
V_INLINE vf vf_fma_at(vf acc, vf a, const float *p) { return vf_fma(vf_set(*p), a, acc); }
V_INLINE float32x4_t turn_four(float32x4_t a, float32x4_t by)
{
    const uint32x4_t signs = vreinterpretq_u32_u64(vdupq_n_u64(0x80000000));
    float32x4_t second = vmulq_f32(vtrn2q_f32(a, a), vrev64q_f32(by));
    second = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(second), signs));
    return vfmaq_f32(second, vtrn1q_f32(a, a), by);
}
V_INLINE vf vf_turn(vf a, vf by) { V_MAP_F(turn_four(a.x[i], by.x[i])); }
V_INLINE vf vf_load_f16(const uint16_t *p)
{
    V_MAP_F(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}
V_INLINE float v_f16(uint16_t x)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(x))), 0);
}
V_INLINE void vf_store_f16(uint16_t *p, vf a)
{
    for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.x[i])));
}
V_INLINE vf vf_load_bf16(const uint16_t *p)
{
    V_MAP_F(vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)));
}
V_INLINE vf vf_from_vi(vi a) { V_MAP_F(vcvtq_f32_s32(a.x[i])); }
V_INLINE vi vi_round(vf a) /* by itself vcvtnq saturates, and makes 0 of a NaN */
{
    float32x4_t end = vdupq_n_f32(2147483648.0f);
    V_MAP_I(vbslq_s32(vcaltq_f32(a.x[i], end), vcvtnq_s32_f32(a.x[i]), vdupq_n_s32(INT32_MIN)));
}
V_INLINE vf vf_round(vf a) { V_MAP_F(vrndnq_f32(a.x[i])); }
V_INLINE vf vf_pow2(vi n)
{
    V_MAP_F(vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n.x[i], vdupq_n_s32(127)), 23)));
}
V_INLINE float vf_sum(vf a)
{
    float32x4_t low = vaddq_f32(a.x[0], a.x[2]), high = vaddq_f32(a.x[1], a.x[3]);
    float32x4_t q = vaddq_f32(low, high);
    float32x2_t d = vadd_f32(vget_low_f32(q), vget_high_f32(q));
    return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
V_INLINE float vf_maximum(vf a)
{
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.x[0], a.x[1]), vmaxq_f32(a.x[2], a.x[3])));
}

V_INLINE vi vi_set(int32_t x) { V_MAP_I(vdupq_n_s32(x)); }
V_INLINE vi vi_zero(void) { return vi_set(0); }
V_INLINE vi vi_mul(vi a, vi b) { V_MAP_I(vmulq_s32(a.x[i], b.x[i])); }
V_INLINE vi vi_add(vi a, vi b) { V_MAP_I(vaddq_s32(a.x[i], b.x[i])); }
V_INLINE int32_t vi_sum(vi a)
{
    return vaddvq_s32(vaddq_s32(vaddq_s32(a.x[0], a.x[1]), vaddq_s32(a.x[2], a.x[3])));
}

V_INLINE vh vh_load(const int16_t *p) { V_MAP_H(vld1q_s16(p + 8 * i)); }
V_INLINE void vh_store(int16_t *p, vh a)
{
    for (int i = 0; i < 4; i++) vst1q_s16(p + 8 * i, a.x[i]);
}
V_INLINE vh vh_set(int16_t x) { V_MAP_H(vdupq_n_s16(x)); }
V_INLINE vh vh_unknown(vh a)
{
    __asm__("" : "+w"(a.x[0]), "+w"(a.x[1]), "+w"(a.x[2]), "+w"(a.x[3]));
    return a;
}
V_INLINE vh vh_load_u8(const uint8_t *p)
{
    V_MAP_H(vreinterpretq_s16_u16(vmovl_u8(vld1_u8(p + 8 * i))));
}
V_INLINE vh vh_load_i8(const int8_t *p) { V_MAP_H(vmovl_s8(vld1_s8(p + 8 * i))); }
V_INLINE vh vh_and(vh a, vh b) { V_MAP_H(vandq_s16(a.x[i], b.x[i])); }
V_INLINE vh vh_or(vh a, vh b) { V_MAP_H(vorrq_s16(a.x[i], b.x[i])); }
V_INLINE vh vh_or_masked(vh a, vh b, vh mask) { return vh_or(a, vh_and(b, mask)); }
V_INLINE vh vh_sub(vh a, vh b) { V_MAP_H(vsubq_s16(a.x[i], b.x[i])); }
V_INLINE vh vh_mul(vh a, vh b) { V_MAP_H(vmulq_s16(a.x[i], b.x[i])); }
V_INLINE vh vh_sll(vh a, int n) { V_MAP_H(vshlq_s16(a.x[i], vdupq_n_s16((int16_t)n))); }
V_INLINE vh vh_srl(vh a, int n)
{
    int16x8_t count = vdupq_n_s16((int16_t)-n);
    V_MAP_H(vreinterpretq_s16_u16(vshlq_u16(vreinterpretq_u16_s16(a.x[i]), count)));
}
V_INLINE vh vh_lookup(const uint8_t table[16], vh index)
{
    uint8x16_t bytes = vld1q_u8(table);
    V_MAP_H(vreinterpretq_s16_u8(vqtbl1q_u8(bytes, vreinterpretq_u8_s16(index.x[i]))));
}
V_INLINE vh vh_sra(vh a, int n) { V_MAP_H(vshlq_s16(a.x[i], vdupq_n_s16((int16_t)-n))); }
V_INLINE vi vi_half(vh a, int half)
{
    V_MAP_I(vshrq_n_s32(half ? vreinterpretq_s32_s16(a.x[i])
                             : vshlq_n_s32(vreinterpretq_s32_s16(a.x[i]), 16), 16));
}
V_INLINE vh vh_twice(vh a, int half)
{
    V_MAP_H(half ? vtrn2q_s16(a.x[i], a.x[i]) : vtrn1q_s16(a.x[i], a.x[i]));
}
V_INLINE vh vh_from_vi(vi a, vi b)
{
    V_MAP_H(i < 2 ? vcombine_s16(vqmovn_s32(a.x[2 * i]), vqmovn_s32(a.x[2 * i + 1]))
                  : vcombine_s16(vqmovn_s32(b.x[2 * i - 4]), vqmovn_s32(b.x[2 * i - 3])));
}
V_INLINE vh vh_broadcast2(const int16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    V_MAP_H(vreinterpretq_s16_s32(vdupq_n_s32(pair)));
}
V_INLINE vi vi_dot(vi acc, vh a, vh b)
{
    V_MAP_I(vaddq_s32(acc.x[i],
                      vpaddq_s32(vmull_s16(vget_low_s16(a.x[i]), vget_low_s16(b.x[i])),
                                 vmull_high_s16(a.x[i], b.x[i]))));
}
V_INLINE vi vi_dot_on(vi acc, vh a, vh b) { return vi_dot(acc, a, b); }
V_INLINE vi vi_dot_at(vi acc, vh a, const int16_t *p) { return vi_dot(acc, a, vh_broadcast2(p)); }

#ifdef V_BYTES
typedef struct { int8x16_t x[4]; } vb; /* 64 int8, four to a lane of a vi */

#define V_MAP_B(expression) vb r; for (int i = 0; i < 4; i++) r.x[i] = (expression); return r

V_INLINE vb vb_load(const int8_t *p) { V_MAP_B(vld1q_s8(p + 16 * i)); }
V_INLINE void vb_store(int8_t *p, vb a)
{
    for (int i = 0; i < 4; i++) vst1q_s8(p + 16 * i, a.x[i]);
}
V_INLINE vb vb_set(int8_t x) { V_MAP_B(vdupq_n_s8(x)); }
V_INLINE vb vb_of(vh a) { V_MAP_B(vreinterpretq_s8_s16(a.x[i])); } /* the same bits */
V_INLINE vb vb_sub(vb a, vb b) { V_MAP_B(vsubq_s8(a.x[i], b.x[i])); }
/* 32 int16 that fit, as int8, the middle two of each four in each other's place. */
V_INLINE void vh_store_bytes(int8_t *p, vh a)
{
    static const uint8_t order[16] = {0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15};
    for (int i = 0; i < 2; i++) {
        int8x16_t bytes = vcombine_s8(vmovn_s16(a.x[2 * i]), vmovn_s16(a.x[2 * i + 1]));
        vst1q_s8(p + 16 * i, vqtbl1q_s8(bytes, vld1q_u8(order)));
    }
}
V_INLINE vi vi_sll(vi a, int n) { V_MAP_I(vshlq_s32(a.x[i], vdupq_n_s32(n))); }
V_INLINE vi vi_dot_bytes(vi acc, vb a, vb b) { V_MAP_I(vdotq_s32(acc.x[i], a.x[i], b.x[i])); }
typedef vi vq;
V_INLINE vq vq_zero(void) { return vi_zero(); }
V_INLINE vi vi_from_vq(vq a) { return a; }
V_INLINE vq vq_dot4(vq acc, vb a, const int8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    vb b;
    for (int i = 0; i < 4; i++) b.x[i] = vreinterpretq_s8_s32(vdupq_n_s32(four));
    return vi_dot_bytes(acc, a, b);
}
V_INLINE vi vq_scaled(vi acc, vq a, vq b, vh scales)
{
    return vi_add(acc, vi_add(vi_mul(a, vi_half(scales, 0)), vi_mul(b, vi_half(scales, 1))));
}
#endif
