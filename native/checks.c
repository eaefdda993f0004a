/* Checks of programs and steps, so that kernels can follow every index without looking. */
#include "checks.h"

static int within(int index, int count) { return index >= -1 && index < count; }

static int record_is_sound(const program_tables *t, const op_record *op)
{
    int sound = op->op >= 0 && op->op < OP_COUNT;
    for (int i = 0; i < RECORD_INPUTS; i++) sound &= within(op->inputs[i], t->n_values);
    for (int i = 0; i < RECORD_OUTPUTS; i++) sound &= within(op->outputs[i], t->n_values);
    for (int i = 0; i < RECORD_WEIGHTS; i++) sound &= within(op->weights[i], t->n_weights);
    return sound;
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

enum step_status step_check(const program_tables *t, int n_pages, const step *s)
{
    if (s->n_tokens > t->max_tokens || s->n_logits > t->max_logits) return STEP_TOO_LARGE;
    if (!tokens_are_sound(t, s)) return STEP_BAD_TOKEN;
    if (!places_are_sound(n_pages, s) || !positions_fit(t, s)) return STEP_BAD_PLACE;
    return STEP_OK;
}
