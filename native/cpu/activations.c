/* Where a matmul's activations lie in scratch memory: float32 rows of all tokens, then slice by slice
 * their integers. */
#include "cpu/internal.h"

enum {
    READ_BEYOND = 15 * 2 * 256, /* by tiles of 16 tokens, the last of which may be fewer */
    LEAST_SLICE = 16,                     /* tokens, if they are not all */
};

/* Where the parts of n activations' integers in one form lie, q first, and where they end. */
typedef struct {
    size_t halves, d, sums, sums32, overflows, end;
} form_places;

enum { FORM_PARTS = 6 };

static form_places places_of(size_t n, int block)
{
    form_places p;
    const size_t blocks = n / (size_t)block;
    p.halves = whole_lines(n * sizeof(int16_t));
    p.d = p.halves + whole_lines(2 * n);
    p.sums = p.d + whole_lines(blocks * sizeof(float));
    p.sums32 = p.sums + whole_lines(n / 16 * sizeof(int16_t));
    p.overflows = p.sums32 + whole_lines(n / 32 * sizeof(int16_t));
    p.end = p.overflows + whole_lines(blocks);
    return p;
}

/* Places the integers of a->n_tokens tokens; returns where they end. */
char *activations_place(activations *a, char *base)
{
    const size_t n = (size_t)a->n_tokens * (size_t)a->n_in;
    for (int kind = ACTIVATION_Q32; kind < ACTIVATION_KINDS; kind++) {
        const form_places p = places_of(n, activation_block(kind));
        a->quantised[kind].q = (int16_t *)base;
        a->quantised[kind].halves = (int8_t *)(base + p.halves);
        a->quantised[kind].d = (float *)(base + p.d);
        a->quantised[kind].sums = (int16_t *)(base + p.sums);
        a->quantised[kind].sums32 = (int16_t *)(base + p.sums32);
        a->quantised[kind].overflows = (uint8_t *)(base + p.overflows);
        base += p.end;
    }
    return base;
}

size_t activations_bytes(int n_tokens, int n_in)
{
    const size_t n = (size_t)n_tokens * (size_t)n_in, slices = (size_t)n_tokens / LEAST_SLICE + 1;
    size_t bytes = whole_lines(n * sizeof(float));
    for (int kind = ACTIVATION_Q32; kind < ACTIVATION_KINDS; kind++)
        bytes += places_of(n, activation_block(kind)).end;
    return bytes + slices * ACTIVATION_KINDS * FORM_PARTS * 64 + READ_BEYOND;
}
