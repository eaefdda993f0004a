/* Checks of programs and steps, so that kernels can follow every index without looking. */
#include "checks.h"

static const struct {
    const char *inputs, *outputs, *weights; /* the words of ops.def */
} operands[OP_COUNT] = {
#define OP(name, inputs, outputs, weights) {inputs, outputs, weights},
#include "ops.def"
};

/* Indices [n] into a table of `count`, each absent or there as its word wants it. */
static int indices_are_sound(const char *words, const int32_t *indices, int n, int count)
{
    for (int i = 0; i < n; i++) {
        const int may_be_there = *words != 0, must_be_there = may_be_there && *words != '[';
        if (indices[i] < -1 || indices[i] >= count) return 0;
        if (indices[i] < 0 ? must_be_there : !may_be_there) return 0;
        while (*words && *words != ' ') words++;
        while (*words == ' ') words++;
    }
    return 1;
}

/* norm_matmul has as many outputs as matrices, none left out between them, and no other biases. */
static int matrices_are_sound(const op_record *op)
{
    for (int i = 0; i < RECORD_OUTPUTS; i++) {
        const int is_there = op->outputs[i] >= 0;
        const int has_matrix = op->weights[1 + 2 * i] >= 0, has_bias = op->weights[2 + 2 * i] >= 0;
        if (has_matrix != is_there || has_bias > has_matrix) return 0;
        if (i && is_there && op->outputs[i - 1] < 0) return 0;
    }
    return 1;
}

/* rope_kv_write normalises queries and keys, or neither. */
static int gains_are_sound(const op_record *op)
{
    return (op->weights[0] >= 0) == (op->weights[1] >= 0);
}

static int record_is_sound(const program_tables *t, const op_record *op)
{
    if (op->op < 0 || op->op >= OP_COUNT) return 0;
    return indices_are_sound(operands[op->op].inputs, op->inputs, RECORD_INPUTS, t->n_values)
           && indices_are_sound(operands[op->op].outputs, op->outputs, RECORD_OUTPUTS, t->n_values)
           && indices_are_sound(operands[op->op].weights, op->weights, RECORD_WEIGHTS, t->n_weights)
           && (op->op != OP_norm_matmul || matrices_are_sound(op))
           && (op->op != OP_rope_kv_write || gains_are_sound(op));
}

int program_check(const program_tables *t)
{
    for (int i = 0; i < t->n_ops; i++)
        if (!record_is_sound(t, &t->ops[i])) return i;
    return -1;
}

static int places_are_sound(int n_pages, const step *s)
{
    for (int i = 0; i < s->n_tokens; i++) {
        int page = s->positions[i] / PAGE_TOKENS;
        if (s->positions[i] < 0 || s->sequences[i] < 0 || s->sequences[i] >= s->n_sequences) return 0;
        if (page >= s->max_pages) return 0;
        const int32_t *pages = s->page_table + (size_t)s->sequences[i] * (size_t)s->max_pages;
        int seen = i && s->sequences[i] == s->sequences[i - 1];
        for (int j = seen ? s->positions[i - 1] / PAGE_TOKENS : 0; j <= page; j++)
            if (pages[j] < 0 || pages[j] >= n_pages) return 0;
    }
    for (int i = 0; i < s->n_logits; i++)
        if (s->logit_rows[i] < 0 || s->logit_rows[i] >= s->n_tokens) return 0;
    return 1;
}

/* Score rows hold as many positions as the program was recorded for. */
static int positions_fit(const program_tables *t, const step *s)
{
    int most = -1;
    for (int i = 0; i < s->n_tokens; i++) most = s->positions[i] > most ? s->positions[i] : most;
    for (int i = 0; i < t->n_ops; i++) {
        const op_record *op = &t->ops[i];
        if (op->op == OP_attention_scores
            && most >= t->values[op->outputs[0]].width / op->n_heads)
            return 0;
    }
    return 1;
}

static int tokens_are_sound(const program_tables *t, const step *s)
{
    for (int i = 0; i < t->n_ops; i++) {
        if (t->ops[i].op != OP_embed) continue;
        int n_vocab = t->weights[t->ops[i].weights[0]].n_out;
        for (int j = 0; j < s->n_tokens; j++)
            if (s->token_ids[j] < 0 || s->token_ids[j] >= n_vocab) return 0;
    }
    return 1;
}

static int cache_fits(const program_tables *t, cache_shape kv)
{
    for (int i = 0; i < t->n_ops; i++) {
        const op_record *op = &t->ops[i];
        switch (op->op) {
        case OP_kv_write:
        case OP_rope_kv_write:
        case OP_attention:
        case OP_attention_scores:
        case OP_attention_mix:
            if (op->layer < 0 || op->layer >= kv.n_layers) return 0;
            if (op->n_kv_heads != kv.n_kv_heads || op->head_dim != kv.head_dim) return 0;
        }
    }
    return 1;
}

enum step_status step_check(const program_tables *t, cache_shape kv, const step *s)
{
    if (s->n_tokens > t->max_tokens || s->n_logits > t->max_logits) return STEP_TOO_LARGE;
    if (!tokens_are_sound(t, s)) return STEP_BAD_TOKEN;
    if (!places_are_sound(kv.n_pages, s) || !positions_fit(t, s)) return STEP_BAD_PLACE;
    return cache_fits(t, kv) ? STEP_OK : STEP_BAD_CACHE;
}
