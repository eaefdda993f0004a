/* Float32 weights to blocks of the quantised formats, all but those with the IQ4 levels. */
#ifndef SMELT_QUANTISE_H
#define SMELT_QUANTISE_H

#include <stddef.h>

enum quantise_status {
    QUANTISE_OK = 0,
    QUANTISE_NO_FORMAT = -1, /* the format has no quantiser */
    QUANTISE_BAD_WEIGHT = -2 /* NaN, infinite, or beyond what half scales reach */
};

/* Whether this enum format has a quantiser. */
int can_quantise(int format);

/* Quantises blocks that follow each other; each depends on its own weights only.
 * src: [n_blocks, block_weights]; dst: [n_blocks, block_bytes] at an even address.
 * Returns an enum quantise_status; `at` gets the index of the weight that is at fault, if one is.
 */
int quantise_blocks(int format, const float *src, void *dst, size_t n_blocks, size_t *at);

#endif
