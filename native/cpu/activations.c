/* Where a matmul's activations lie in scratch memory. */
#include "cpu/internal.h"

enum {
    MOST_HALVES = 3,
    READ_BEYOND = 15 * MOST_HALVES * 256, /* by tiles of 16 tokens, the last of which may be fewer */
};

static size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

void activations_place(activations *a, int n_tokens, int n_in, char *base)
{
    size_t n = (size_t)n_tokens * (size_t)n_in, at = 0;
    a->n_tokens = n_tokens;
    a->n_in = n_in;
    a->f32 = (float *)base;
    at += whole_lines(n * sizeof(float));
    for (int kind = ACTIVATION_Q32; kind < ACTIVATION_KINDS; kind++) {
        size_t blocks = n / (size_t)activation_block(kind);
        a->quantised[kind].q = (int16_t *)(base + at);
        at += whole_lines(n * sizeof(int16_t));
        a->quantised[kind].halves = (int8_t *)(base + at);
        at += whole_lines(MOST_HALVES * n);
        a->quantised[kind].d = (float *)(base + at);
        at += whole_lines(blocks * sizeof(float));
        a->quantised[kind].sums = (int16_t *)(base + at);
        at += whole_lines(n / 16 * sizeof(int16_t));
    }
}

size_t activations_bytes(int n_tokens, int n_in)
{
    size_t n = (size_t)n_tokens * (size_t)n_in, at = whole_lines(n * sizeof(float)) + READ_BEYOND;
    for (int kind = ACTIVATION_Q32; kind < ACTIVATION_KINDS; kind++)
        at += whole_lines(n * sizeof(int16_t)) + whole_lines(MOST_HALVES * n)
              + whole_lines(n / (size_t)activation_block(kind) * sizeof(float))
              + whole_lines(n / 16 * sizeof(int16_t));
    return at;
}
