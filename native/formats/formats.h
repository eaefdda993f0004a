/* Every tensor format that smelt computes with: its number, its sizes and its decoder. */
#ifndef SMELT_FORMATS_H
#define SMELT_FORMATS_H

#ifndef __METAL_VERSION__
#include <stddef.h>
#endif

#include "bf16.h"
#include "f16.h"
#include "f32.h"
#include "iq4_nl.h"
#include "iq4_xs.h"
#include "q2_k.h"
#include "q3_k.h"
#include "q4_0.h"
#include "q4_1.h"
#include "q4_k.h"
#include "q5_0.h"
#include "q5_1.h"
#include "q5_k.h"
#include "q6_k.h"
#include "q8_0.h"

enum format { /* FORMAT_F32, ..., in the order of formats.def */
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes) FORMAT_##NAME,
#include "../formats.def"
    FORMAT_COUNT
};

#ifndef __METAL_VERSION__

typedef struct {
    const char *name;      /* "q4_k" */
    const char *gguf_name; /* "Q4_K" */
    int gguf_type;
    int block_weights;
    int block_bytes;
    void (*decode)(const void *src, float *dst, size_t n_blocks); /* as decode_rows */
} format_info;

/* The formats, indexed by enum format; their number goes to `count`. */
const format_info *format_table(int *count);

/* Decodes blocks that follow each other.
 * src: [n_blocks, block_bytes] at an even address; dst: [n_blocks, block_weights].
 * Returns 0, or -1 if `format` is no enum format (nothing is written then).
 */
int decode_rows(int format, const void *src, float *dst, size_t n_blocks);

#endif

#endif
