/* Stands in for native/cpu/kernels/kernels.h: with tests/native/primitives first among the include
 * paths, each isa/ unit compiles these calls of its v_ primitives instead of its kernels. The kernel
 * table then holds one function, in the place of the first op; its round lies in work.scratch. */
#include "cpu/internal.h"
#include "half.h"

#include "cpu/kernels/vector.h"
#include "primitives.h"

static void *emit(primitive_round *p, const char *name, int is_float, size_t nbytes)
{
    output *o = &p->outputs[p->n_outputs++];
    o->name = name;
    o->is_float = is_float;
    o->nbytes = (int)nbytes;
    return o->bytes;
}

/* A vi has its lanes in order on every instruction set, and no primitive to load or store it. */
static vi vi_of(const int32_t x[16])
{
    vi v;
    memcpy(&v, x, sizeof v);
    return v;
}

static void emit_vi(primitive_round *p, const char *name, vi v)
{
    memcpy(emit(p, name, 0, sizeof v), &v, sizeof v);
}

#define EMIT_F(name, expression) vf_store(emit(p, name, 1, 16 * sizeof(float)), (expression))
#define EMIT_I(name, expression) emit_vi(p, name, (expression))
#define EMIT_H(name, expression) vh_store(emit(p, name, 0, 32 * sizeof(int16_t)), (expression))
#define EMIT_FLOAT(name, expression) *(float *)emit(p, name, 1, sizeof(float)) = (expression)

static void run_floats(primitive_round *p)
{
    vf a = vf_load(p->f[0]), b = vf_load(p->f[1]), c = vf_load(p->f[2]);
    vf x = vf_load(p->moderate[0]), y = vf_load(p->moderate[1]);
    EMIT_F("vf_zero", vf_zero());
    EMIT_F("vf_set", vf_set(p->f[0][3]));
    EMIT_F("vf_add", vf_add(a, b));
    EMIT_F("vf_sub", vf_sub(a, b));
    EMIT_F("vf_mul", vf_mul(a, b));
    EMIT_F("vf_div", vf_div(a, b));
    EMIT_F("vf_max", vf_max(a, b));
    EMIT_F("vf_min", vf_min(a, b));
    EMIT_F("vf_abs", vf_abs(a));
    EMIT_F("vf_fma", vf_fma(a, b, c));
    EMIT_F("vf_fma_at", vf_fma_at(c, a, p->f[0] + 5));
    EMIT_F("vf_fma, moderate", vf_fma(x, y, vf_set(p->moderate[0][5])));
    EMIT_F("vf_round", vf_round(a));
    EMIT_F("vf_round, moderate", vf_round(x));
    EMIT_F("vf_turn", vf_turn(a, b));
    EMIT_F("vf_turn, moderate", vf_turn(x, y));
    vf_store_f16(emit(p, "vf_store_f16", 0, 16 * sizeof(uint16_t)), a);
    vf_store_f16(emit(p, "vf_store_f16, small", 0, 16 * sizeof(uint16_t)), vf_mul(x, vf_set(0x1p-24f)));
    EMIT_F("vf_load_f16", vf_load_f16(p->halves));
    EMIT_F("vf_load_bf16", vf_load_bf16(p->halves));
    EMIT_F("vf_from_vi", vf_from_vi(vi_of(p->i[0])));
    EMIT_F("vf_pow2", vf_pow2(vi_of(p->exponents)));
    EMIT_F("vf_load_part", vf_load_part(p->f[0], 7));
    EMIT_F("vf_exp", vf_exp(a));
    EMIT_F("vf_exp, moderate", vf_exp(vf_mul(x, vf_set(0x1p-24f))));
    EMIT_F("vf_silu", vf_silu(a));
    EMIT_F("vf_silu, moderate", vf_silu(vf_mul(x, vf_set(0x1p-24f))));
    EMIT_F("vf_sigmoid", vf_sigmoid(a));
    EMIT_F("vf_sigmoid, moderate", vf_sigmoid(vf_mul(x, vf_set(0x1p-24f))));
    EMIT_F("vf_tanh", vf_tanh(a));
    EMIT_F("vf_tanh, moderate", vf_tanh(vf_mul(x, vf_set(0x1p-28f))));
    EMIT_F("vf_gelu", vf_gelu(a));
    EMIT_F("vf_gelu, moderate", vf_gelu(vf_mul(x, vf_set(0x1p-27f))));
    EMIT_FLOAT("vf_sum", vf_sum(x));
    EMIT_FLOAT("vf_maximum", vf_maximum(x));
    EMIT_FLOAT("v_f16", v_f16(p->halves[9]));
    EMIT_I("vi_round", vi_round(a));
    EMIT_I("vi_round, moderate", vi_round(x));
}

static void run_integers(primitive_round *p)
{
    vh a = vh_load(p->h[0]), b = vh_load(p->h[1]);
    vh x = vh_load(p->codes[0]), y = vh_load(p->codes[1]);
    vi i = vi_of(p->small[0]), j = vi_of(p->small[1]), k = vi_of(p->small[2]);
    EMIT_I("vi_zero", vi_zero());
    EMIT_I("vi_set", vi_set(p->i[0][3]));
    EMIT_I("vi_half 0", vi_half(a, 0));
    EMIT_I("vi_half 1", vi_half(a, 1));
    EMIT_I("vi_add", vi_add(i, j));
    EMIT_I("vi_mul", vi_mul(i, j));
    EMIT_I("vi_dot", vi_dot(k, x, y));
    EMIT_I("vi_dot_on", vi_dot_on(k, x, y));
    EMIT_I("vi_dot_at", vi_dot_at(k, x, p->codes[1] + 3));
    *(int32_t *)emit(p, "vi_sum", 0, sizeof(int32_t)) = vi_sum(i);
    EMIT_H("vh_set", vh_set(p->h[0][1]));
    EMIT_H("vh_unknown", vh_unknown(a));
    EMIT_H("vh_load_u8", vh_load_u8(p->bytes));
    EMIT_H("vh_load_i8", vh_load_i8((const int8_t *)p->bytes));
    EMIT_H("vh_twice 0", vh_twice(a, 0));
    EMIT_H("vh_twice 1", vh_twice(a, 1));
    EMIT_H("vh_and", vh_and(a, b));
    EMIT_H("vh_or", vh_or(a, b));
    EMIT_H("vh_or_masked", vh_or_masked(a, b, vh_set(0x0f30)));
    EMIT_H("vh_sub", vh_sub(a, b));
    EMIT_H("vh_mul", vh_mul(a, b));
    EMIT_H("vh_sll 2", vh_sll(a, 2));
    EMIT_H("vh_sll 8", vh_sll(a, 8));
    EMIT_H("vh_srl 0", vh_srl(a, 0));
    EMIT_H("vh_srl 1", vh_srl(a, 1));
    EMIT_H("vh_srl 14", vh_srl(a, 14));
    EMIT_H("vh_sra 8", vh_sra(a, 8));
    EMIT_H("vh_lookup", vh_lookup(p->table, vh_load(p->indices)));
    EMIT_H("vh_from_vi", vh_from_vi(vi_of(p->i[0]), vi_of(p->i[1])));
    EMIT_H("vh_from_vi, small", vh_from_vi(i, j));
    EMIT_H("vh_broadcast2", vh_broadcast2(p->h[0] + 3));
}

static void run_round(work *w, const op_record *op)
{
    primitive_round *p = (primitive_round *)w->scratch;
    (void)op;
    p->n_outputs = 0;
    run_floats(p);
    run_integers(p);
}

#define V_TABLE_(name) kernels_##name
#define V_TABLE(name) V_TABLE_(name)
const kernel_table V_TABLE(V_NAME) = {{run_round}};
