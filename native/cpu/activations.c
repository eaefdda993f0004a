/* Where a matmul's activations lie in scratch memory: float32 rows of all tokens, then slice by slice
 * their integers. */
#include "cpu/internal.h"

enum {
    MOST_HALVES = 3,
    READ_BEYOND = 15 * MOST_HALVES * 256, /* by tiles of 16 tokens, the last of which may be fewer */
    LEAST_SLICE = 16,                     /* tokens, if they are not all */
};

static size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Places the integers of a->n_tokens tokens; returns where they end. */
char *activations_place(activations *a, char *base)
{
    size_t n = (size_t)a->n_tokens * (size_t)a->n_in, at = 0;
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
    return base + at;
}

size_t activations_bytes(int n_tokens, int n_in)
{
    size_t n = (size_t)n_tokens * (size_t)n_in, slices = (size_t)n_tokens / LEAST_SLICE + 1;
    activations all = {.n_tokens = n_tokens, .n_in = n_in};
    char *base = NULL;
    return whole_lines(n * sizeof(float)) + (size_t)(activations_place(&all, base) - base)
           + slices * ACTIVATION_KINDS * 4 * 64 + READ_BEYOND;
}
