/* program_check: a record lacks nothing that a kernel follows without looking, and has nothing else. */
#include <string.h>

#include "cases.h"
#include "checks.h"
#include "recording.h"

enum { N_VALUES = 3, N_WEIGHTS = 2 }; /* rows of the tables that records point into */

/* What kernels read, operand by operand: '1' always, '?' where it is there, nothing beyond. */
static const struct {
    enum op op;
    const char *inputs, *outputs, *weights;
} expected[] = {
    {OP_embed, "", "1", "1"},
    {OP_select, "1", "1", ""},
    {OP_rms_norm, "1", "1", "1"},
    {OP_layer_norm, "1", "1", "1?"},
    {OP_matmul, "1", "1", "1?"},
    {OP_rope_table, "", "1", "1"},
    {OP_rope, "11", "1", ""},
    {OP_kv_write, "11", "", ""},
    {OP_attention_scores, "1", "1", ""},
    {OP_softmax, "1", "1", ""},
    {OP_attention_mix, "1", "1", ""},
    {OP_silu, "1", "1", ""},
    {OP_gelu, "1", "1", ""},
    {OP_sigmoid, "1", "1", ""},
    {OP_tanh, "1", "1", ""},
    {OP_relu, "1", "1", ""},
    {OP_scale, "1", "1", ""},
    {OP_mul, "11", "1", ""},
    {OP_add, "11", "1", ""},
    {OP_attention, "1", "1", ""},
    {OP_rope_kv_write, "1111", "1", "??"},
    {OP_norm_matmul, "1", "1??", "11?????"},
    {OP_norm_gate_up, "1", "1", "11?1?"},
    {OP_matmul_add, "11", "1", "1?"},
};
_Static_assert(sizeof expected / sizeof *expected == OP_COUNT, "every op is expected once");

static int accepted(const op_record *op)
{
    static const value_record values[N_VALUES];
    static const weight_record weights[N_WEIGHTS];
    program_tables t = {op, values, weights, 1, N_VALUES, N_WEIGHTS, 1, 1, 0};
    return program_check(&t) == -1;
}

static void fill(int32_t *indices, int n, const char *pattern, int with_optional)
{
    for (int i = 0, length = (int)strlen(pattern); i < n; i++)
        indices[i] = i < length && (pattern[i] == '1' || with_optional) ? i % 2 : -1;
}

/* Changes one index after the other of a record that is complete but for what is optional. */
static void test_indices(op_record *op, int32_t *indices, int n, int count, const char *pattern,
                         const char *what)
{
    for (int i = 0; i < n; i++) {
        const int32_t before = indices[i];
        const int is_there = before >= 0;
        indices[i] = count;
        CHECK(!accepted(op), "op %d: %s %d beyond its table", op->op, what, i);
        indices[i] = -2;
        CHECK(!accepted(op), "op %d: %s %d before its table", op->op, what, i);
        indices[i] = is_there ? -1 : count - 1;
        if (is_there || i >= (int)strlen(pattern))
            CHECK(!accepted(op), "op %d: %s %d is %s", op->op, what, i,
                  is_there ? "missing" : "one too many");
        indices[i] = before;
    }
}

#define REFUSED(change)                        \
    do {                                       \
        op_record op = good;                   \
        change;                                \
        CHECK(!accepted(&op), "%s", #change);  \
    } while (0)

static void test_norm_matmul(void)
{
    op_record good = {.op = OP_norm_matmul};
    fill(good.inputs, RECORD_INPUTS, "1", 0);
    fill(good.outputs, RECORD_OUTPUTS, "11", 0);
    fill(good.weights, RECORD_WEIGHTS, "11?1???", 0);
    CHECK(accepted(&good), "two matrices");
    REFUSED(op.outputs[1] = -1);
    REFUSED(op.weights[3] = -1);
    REFUSED(op.outputs[2] = 0);
    REFUSED(op.weights[5] = 0);
    REFUSED(op.weights[6] = 0);
    REFUSED(op.outputs[1] = op.weights[3] = -1; op.outputs[2] = op.weights[5] = 0);
}

static void test_rope_kv_write(void)
{
    op_record good = {.op = OP_rope_kv_write};
    fill(good.inputs, RECORD_INPUTS, "1111", 0);
    fill(good.outputs, RECORD_OUTPUTS, "1", 0);
    fill(good.weights, RECORD_WEIGHTS, "11", 0);
    CHECK(accepted(&good), "gains of queries and keys");
    REFUSED(op.weights[0] = -1);
    REFUSED(op.weights[1] = -1);
}

void test_checks(void)
{
    for (int i = 0; i < OP_COUNT; i++) {
        op_record op = {.op = (int32_t)expected[i].op};
        for (int with_optional = 1; with_optional >= 0; with_optional--) {
            fill(op.inputs, RECORD_INPUTS, expected[i].inputs, with_optional);
            fill(op.outputs, RECORD_OUTPUTS, expected[i].outputs, with_optional);
            fill(op.weights, RECORD_WEIGHTS, expected[i].weights, with_optional);
            CHECK(accepted(&op), "op %d with%s optional operands", op.op, with_optional ? "" : "out");
        }
        test_indices(&op, op.inputs, RECORD_INPUTS, N_VALUES, expected[i].inputs, "input");
        test_indices(&op, op.outputs, RECORD_OUTPUTS, N_VALUES, expected[i].outputs, "output");
        test_indices(&op, op.weights, RECORD_WEIGHTS, N_WEIGHTS, expected[i].weights, "weight");
    }
    test_norm_matmul();
    test_rope_kv_write();
}
