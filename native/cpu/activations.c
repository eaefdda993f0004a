/* Where a matmul's activations lie in scratch memory: float32 rows of all tokens, then slice by slice
 * their integers. */
#include "cpu/internal.h"

enum {
    READ_BEYOND = 15 * 2 * 256, /* by tiles of 16 tokens, the last of which may be fewer */
    LEAST_SLICE = 16,                     /* tokens, if they are not all */
};

/* Bytes of n activations' integers in one form, and the places of its parts. */
static size_t form_bytes(size_t n, int block, size_t *halves, size_t *d, size_t *sums)
{
    *halves = whole_lines(n * sizeof(int16_t));
    *d = *halves + whole_lines(2 * n);
    *sums = *d + whole_lines(n / (size_t)block * sizeof(float));
    return *sums + whole_lines(n / 16 * sizeof(int16_t));
}

/* Places the integers of a->n_tokens tokens; returns where they end. */
char *activations_place(activations *a, char *base)
{
    const size_t n = (size_t)a->n_tokens * (size_t)a->n_in;
    for (int kind = ACTIVATION_Q32; kind < ACTIVATION_KINDS; kind++) {
        size_t halves, d, sums, bytes = form_bytes(n, activation_block(kind), &halves, &d, &sums);
        a->quantised[kind].q = (int16_t *)base;
        a->quantised[kind].halves = (int8_t *)(base + halves);
        a->quantised[kind].d = (float *)(base + d);
        a->quantised[kind].sums = (int16_t *)(base + sums);
        base += bytes;
    }
    return base;
}

size_t activations_bytes(int n_tokens, int n_in)
{
    const size_t n = (size_t)n_tokens * (size_t)n_in, slices = (size_t)n_tokens / LEAST_SLICE + 1;
    size_t bytes = whole_lines(n * sizeof(float)), halves, d, sums;
    for (int kind = ACTIVATION_Q32; kind < ACTIVATION_KINDS; kind++)
        bytes += form_bytes(n, activation_block(kind), &halves, &d, &sums);
    return bytes + slices * ACTIVATION_KINDS * 4 * 64 + READ_BEYOND;
}
