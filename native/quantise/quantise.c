/* The table of quantisers, and what they refuse: see quantise.h. */
#include "quantise.h"

#include "group.h"

/* QUANTISER(name, NAME, scale_bits, evenness)
 *   scale_bits  of a sub-block's integer scale, and of its minimum; 0 in blocks of 32
 *   evenness    how much the error of a small weight counts: see sub_blocks.w in fit.h. 1 is best or
 *               near it in the divergence from the unquantised model; with Q3_K's eight levels that
 *               hardly depends on it, and 0 keeps the lower perplexity (docs/quantise.md).
 */
#define QUANTISERS(QUANTISER)      \
    QUANTISER(q8_0, Q8_0, 0, 1.0f) \
    QUANTISER(q4_0, Q4_0, 0, 1.0f) \
    QUANTISER(q4_1, Q4_1, 0, 1.0f) \
    QUANTISER(q5_0, Q5_0, 0, 1.0f) \
    QUANTISER(q5_1, Q5_1, 0, 1.0f) \
    QUANTISER(q2_k, Q2_K, 4, 1.0f) \
    QUANTISER(q3_k, Q3_K, 6, 0.0f) \
    QUANTISER(q4_k, Q4_K, 6, 1.0f) \
    QUANTISER(q5_k, Q5_K, 6, 1.0f) \
    QUANTISER(q6_k, Q6_K, 8, 1.0f)

typedef struct {
    level_traits traits;
    void (*store)(const block_fields *f, void *block);
    size_t block_bytes;
} quantiser;

#define QUANTISER(name, NAME, scale_bits, evenness) \
    static void store_block_##name(const block_fields *f, void *block) { store_##name(f, block); }
QUANTISERS(QUANTISER)
#undef QUANTISER

/* Q8_0's codes are signed bytes, the levels themselves. */
#define LOWEST(name) (CODE_BITS_##name == 8 ? -128 : -CODE_OFFSET_##name)

static const quantiser quantisers[FORMAT_COUNT] = {
#define QUANTISER(name, NAME, scale_bits, evenness)                                               \
    [FORMAT_##NAME] = {                                                                           \
        {BLOCK_WEIGHTS_##NAME, SUB_BLOCK_##name, CODE_OFFSET_##name, LOWEST(name),                \
         LOWEST(name) + (1 << CODE_BITS_##name) - 1, MINS_##name, scale_bits, evenness},          \
        store_block_##name,                                                                       \
        BLOCK_BYTES_##NAME},
    QUANTISERS(QUANTISER)
#undef QUANTISER
};

int can_quantise(int format)
{
    return format >= 0 && format < FORMAT_COUNT && quantisers[format].store != NULL;
}

/* The greatest magnitude that surely has a place in a block. */
static float largest_weight(const level_traits *t)
{
    const int range = 1 << t->scale_bits;

    if (t->mins == MIN_ADDED)
        return LARGEST_HALF;
    if (t->mins == MINS_SUBTRACTED)
        return LARGEST_HALF * (float)(range - 1);
    return LARGEST_HALF * (float)t->highest * (float)(t->scale_bits ? range / 2 - 1 : 1);
}

static int check_weights(const level_traits *t, const float *x, size_t n, size_t *at)
{
    const float largest = largest_weight(t);

    for (size_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) <= largest)) {
            *at = i;
            return QUANTISE_BAD_WEIGHT;
        }
    return QUANTISE_OK;
}

int quantise_blocks(int format, const float *src, void *dst, size_t n_blocks, size_t *at)
{
    if (!can_quantise(format))
        return QUANTISE_NO_FORMAT;
    const quantiser *q = &quantisers[format];
    const level_traits *t = &q->traits;
    const size_t n = n_blocks * (size_t)t->block;
    const int status = check_weights(t, src, n, at);
    uint8_t *block = dst;

    if (status != QUANTISE_OK)
        return status;
    for (size_t first = 0; first < n; first += GROUP) {
        const size_t n_here = n - first < GROUP ? n - first : GROUP;
        float x[GROUP] = {0};
        block_fields f[GROUP / 32];
        memcpy(x, src + first, n_here * sizeof *x);
        if (t->block == GROUP)
            quantise_super_block(t, x, f);
        else
            quantise_small_blocks(t, x, f);
        for (size_t i = 0; i * (size_t)t->block < n_here; i++, block += q->block_bytes)
            q->store(&f[i], block);
    }
    return QUANTISE_OK;
}
