/* The v_ primitives in plain C: the meaning that every other instruction set has to keep.
 * avx512.h says what each primitive does.
 */
#include <math.h>
#include <string.h>

typedef struct { float x[16]; } vf;
typedef struct { int32_t x[16]; } vi;
typedef struct { int16_t x[32]; } vh;

#define V_SCALAR
#define V_TILE_TOKENS 2
#define V_TILE_GROUPS 1
#define V_DOT_TOKENS 2
#define V_HEADS 1
#define V_SUMS 1

#define V_MAP_F(expression) vf r; for (int i = 0; i < 16; i++) r.x[i] = (expression); return r
#define V_MAP_I(expression) vi r; for (int i = 0; i < 16; i++) r.x[i] = (expression); return r
#define V_MAP_H(expression) \
    vh r; for (int i = 0; i < 32; i++) r.x[i] = (int16_t)(expression); return r

V_INLINE vf vf_set(float x) { V_MAP_F(x); }
V_INLINE vf vf_zero(void) { return vf_set(0.0f); }
V_INLINE vf vf_load(const float *p) { V_MAP_F(p[i]); }
V_INLINE void vf_store(float *p, vf a) { memcpy(p, a.x, sizeof a.x); }
V_INLINE vf vf_add(vf a, vf b) { V_MAP_F(a.x[i] + b.x[i]); }
V_INLINE vf vf_sub(vf a, vf b) { V_MAP_F(a.x[i] - b.x[i]); }
V_INLINE vf vf_mul(vf a, vf b) { V_MAP_F(a.x[i] * b.x[i]); }
V_INLINE vf vf_div(vf a, vf b) { V_MAP_F(a.x[i] / b.x[i]); }
V_INLINE vf vf_max(vf a, vf b) { V_MAP_F(a.x[i] > b.x[i] ? a.x[i] : b.x[i]); }
V_INLINE vf vf_min(vf a, vf b) { V_MAP_F(a.x[i] < b.x[i] ? a.x[i] : b.x[i]); }
V_INLINE vf vf_abs(vf a) { V_MAP_F(fabsf(a.x[i])); }
V_INLINE vf vf_fma(vf a, vf b, vf c) { V_MAP_F(fmaf(a.x[i], b.x[i], c.x[i])); }
V_INLINE vf vf_fma_at(vf acc, vf a, const float *p) { return vf_fma(vf_set(*p), a, acc); }
V_INLINE vf vf_turn(vf a, vf by)
{
    vf r;
    for (int i = 0; i < 16; i += 2) {
        r.x[i] = fmaf(a.x[i], by.x[i], -(a.x[i + 1] * by.x[i + 1]));
        r.x[i + 1] = fmaf(a.x[i], by.x[i + 1], a.x[i + 1] * by.x[i]);
    }
    return r;
}
V_INLINE float v_f16(uint16_t x) { return f16_to_f32(x); }
V_INLINE vf vf_load_f16(const uint16_t *p) { V_MAP_F(f16_to_f32(p[i])); }
V_INLINE void vf_store_f16(uint16_t *p, vf a)
{
    for (int i = 0; i < 16; i++) p[i] = f32_to_f16(a.x[i]);
}
V_INLINE vf vf_load_bf16(const uint16_t *p) { V_MAP_F(bf16_to_f32(p[i])); }
V_INLINE vf vf_from_vi(vi a) { V_MAP_F((float)a.x[i]); }
V_INLINE vi vi_round(vf a) /* out of range or NaN: INT32_MIN, as x86 has it */
{
    V_MAP_I(fabsf(a.x[i]) < 2147483648.0f ? (int32_t)rintf(a.x[i]) : INT32_MIN);
}
V_INLINE vf vf_round(vf a) { V_MAP_F(rintf(a.x[i])); }
V_INLINE vf vf_pow2(vi n)
{
    vf r;
    for (int i = 0; i < 16; i++) {
        uint32_t bits = (uint32_t)(n.x[i] + 127) << 23;
        memcpy(&r.x[i], &bits, sizeof bits);
    }
    return r;
}
V_INLINE float vf_sum(vf a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a.x[i] += a.x[i + half];
    return a.x[0];
}
V_INLINE float vf_maximum(vf a)
{
    float m = a.x[0];
    for (int i = 1; i < 16; i++) m = a.x[i] > m ? a.x[i] : m;
    return m;
}

V_INLINE vi vi_set(int32_t x) { V_MAP_I(x); }
V_INLINE vi vi_zero(void) { return vi_set(0); }
V_INLINE vi vi_mul(vi a, vi b) { V_MAP_I(a.x[i] * b.x[i]); }
V_INLINE vi vi_add(vi a, vi b) { V_MAP_I(a.x[i] + b.x[i]); }
V_INLINE int32_t vi_sum(vi a)
{
    int32_t sum = 0;
    for (int i = 0; i < 16; i++) sum += a.x[i];
    return sum;
}

V_INLINE vh vh_load(const int16_t *p) { V_MAP_H(p[i]); }
V_INLINE void vh_store(int16_t *p, vh a) { memcpy(p, a.x, sizeof a.x); }
V_INLINE vh vh_set(int16_t x) { V_MAP_H(x); }
V_INLINE vh vh_unknown(vh a)
{
    __asm__("" : "+m"(a));
    return a;
}
V_INLINE vh vh_load_u8(const uint8_t *p) { V_MAP_H(p[i]); }
V_INLINE vh vh_load_i8(const int8_t *p) { V_MAP_H(p[i]); }
V_INLINE vi vi_half(vh a, int half) { V_MAP_I(a.x[2 * i + half]); }
V_INLINE vh vh_twice(vh a, int half) { V_MAP_H(a.x[i / 2 * 2 + half]); }
V_INLINE vh vh_and(vh a, vh b) { V_MAP_H(a.x[i] & b.x[i]); }
V_INLINE vh vh_or(vh a, vh b) { V_MAP_H(a.x[i] | b.x[i]); }
V_INLINE vh vh_or_masked(vh a, vh b, vh mask) { V_MAP_H(a.x[i] | (b.x[i] & mask.x[i])); }
V_INLINE vh vh_sub(vh a, vh b) { V_MAP_H(a.x[i] - b.x[i]); }
V_INLINE vh vh_mul(vh a, vh b) { V_MAP_H(a.x[i] * b.x[i]); }
V_INLINE vh vh_sll(vh a, int n) { V_MAP_H((uint16_t)a.x[i] << n); }
V_INLINE vh vh_srl(vh a, int n) { V_MAP_H((uint16_t)a.x[i] >> n); }
V_INLINE vh vh_sra(vh a, int n) { V_MAP_H(a.x[i] >> n); }
V_INLINE vh vh_lookup(const uint8_t table[16], vh index) { V_MAP_H(table[index.x[i]]); }
V_INLINE vh vh_from_vi(vi a, vi b)
{
    vh r;
    for (int i = 0; i < 32; i++) {
        int32_t x = i < 16 ? a.x[i] : b.x[i - 16];
        r.x[i] = (int16_t)(x > 32767 ? 32767 : x < -32768 ? -32768 : x);
    }
    return r;
}
V_INLINE vh vh_broadcast2(const int16_t *p) { V_MAP_H(p[i & 1]); }
V_INLINE vi vi_dot(vi acc, vh a, vh b)
{
    V_MAP_I(acc.x[i] + a.x[2 * i] * b.x[2 * i] + a.x[2 * i + 1] * b.x[2 * i + 1]);
}
V_INLINE vi vi_dot_on(vi acc, vh a, vh b) { return vi_dot(acc, a, b); }
V_INLINE vi vi_dot_at(vi acc, vh a, const int16_t *p) { return vi_dot(acc, a, vh_broadcast2(p)); }
