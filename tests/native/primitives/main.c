/* Holds the v_ primitives of every instruction set against those of plain C, bit for bit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cpu/isa/isa.h"
#include "half.h"
#include "primitives.h"

/* Floats that fall on the edges: of rounding, of float16, of int32, of the numbers. */
static const float edges[] = {
    0.0f,     -0.0f,     0.5f,       -0.5f,       1.5f,     2.5f,    -2.5f,       0x1p-149f,
    0x1p-24f, 0x1p-25f,  0x1.8p-25f, 65504.0f,    65519.0f, 65520.f, 2147483648.f, -2147483648.f,
    0x1p31f,  0x1p32f,   INFINITY,   -INFINITY,   NAN,      88.0f,   -87.3f,       89.0f,
    -104.0f,  0x1p-126f, 8388607.5f, 4194303.75f, 3e38f,    -3e38f,  16777217.0f,  0x1.002p0f,
};

static float any_float(void)
{
    enum { EDGES = sizeof edges / sizeof *edges };
    int kind = random_below(4);
    if (kind == 0) return edges[random_below(EDGES)];
    return kind == 1 ? f32_from_bits(random_u32()) : ldexpf(random_float(), random_below(60) - 30);
}

static void fill(primitive_round *p)
{
    memset(p, 0, sizeof *p);
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 3; j++) p->f[j][i] = any_float();
        for (int j = 0; j < 2; j++) p->moderate[j][i] = ldexpf(random_float(), random_below(32));
        for (int j = 0; j < 2; j++) p->i[j][i] = (int32_t)random_u32();
        for (int j = 0; j < 3; j++) p->small[j][i] = (int32_t)random_u32() >> 19;
        p->halves[i] = (uint16_t)random_u32();
        p->exponents[i] = random_below(255) - 126;
        p->table[i] = i == 0 ? 0 : (uint8_t)random_u32();
    }
    for (int i = 0; i < 32; i++) {
        for (int j = 0; j < 2; j++) p->h[j][i] = (int16_t)random_u32();
        for (int j = 0; j < 2; j++) p->codes[j][i] = (int16_t)(random_below(32767) - 16383);
        p->indices[i] = (int16_t)random_below(16);
        p->bytes[i] = (uint8_t)random_u32();
    }
}

static int agree(const output *a, const output *b)
{
    if (!a->is_float) return !memcmp(a->bytes, b->bytes, (size_t)a->nbytes);
    for (int at = 0; at < a->nbytes; at += (int)sizeof(float)) {
        float x, y;
        memcpy(&x, a->bytes + at, sizeof x);
        memcpy(&y, b->bytes + at, sizeof y);
        if (f32_bits(x) != f32_bits(y) && !(isnan(x) && isnan(y))) return 0;
    }
    return 1;
}

static void run(const instruction_set *set, primitive_round *p)
{
    work w = {.scratch = (char *)p};
    set->kernels->ops[0](&w, NULL);
}

int main(void)
{
    enum { ROUNDS = 2000 };
    int count;
    const instruction_set *sets = instruction_sets(&count);
    static primitive_round plain, other;
    printf("instruction sets:");
    for (int i = 0; i < count; i++)
        if (instruction_set_is_here(&sets[i])) printf(" %s", sets[i].name);
    printf("\n");
    for (int round = 0; round < ROUNDS; round++) {
        fill(&plain);
        other = plain;
        run(&sets[0], &plain);
        for (int i = 1; i < count; i++) {
            if (!instruction_set_is_here(&sets[i])) continue;
            run(&sets[i], &other);
            CHECK(other.n_outputs == plain.n_outputs, "%s: %d outputs", sets[i].name, other.n_outputs);
            for (int j = 0; j < plain.n_outputs; j++)
                CHECK(agree(&plain.outputs[j], &other.outputs[j]), "%s differs from scalar in %s",
                      sets[i].name, plain.outputs[j].name);
        }
    }
    return checks_report();
}
