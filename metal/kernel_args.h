/* What the host (native/metal) and the kernels (metal/) agree on: where buffers are bound, which
 * function constants specialise a pipeline, the structs of arguments, and the shape of a dispatch.
 * Read by Metal and by C.
 */
#ifndef SMELT_KERNEL_ARGS_H
#define SMELT_KERNEL_ARGS_H

#ifdef __METAL_VERSION__
#include <metal_stdlib>
using namespace metal; /* before any text: some compilers know `uint` as metal::uint alone */
#define DEVICE_POINTER(type) device type *
#else
#include <stdint.h>
#define DEVICE_POINTER(type) uint64_t /* MTLBuffer.gpuAddress plus an offset */
#endif

/* Buffers that every kernel has. Further ones follow from BUFFER_OP in the order that the kernel's
 * file states; one that a function constant makes absent keeps its index. */
enum {
    BUFFER_STEP = 0,      /* constant step_args & */
    BUFFER_STEP_DATA = 1, /* device const int32_t *: the arrays of the step */
    BUFFER_ARGS = 2,      /* constant ..._args & of the op */
    BUFFER_OP = 3,
};

/* Those of matvec and matmul, for up to three matrices. */
enum {
    MATRIX_X = 3,        /* [rows, n_in] */
    MATRIX_GAIN = 4,     /* [n_in] with HAS_NORM */
    MATRIX_W = 5,        /* and 6, 7 */
    MATRIX_B = 8,        /* and 9, 10: HAS_BIAS_... */
    MATRIX_RESIDUAL = 11, /* of the first matrix */
    MATRIX_Y = 12,       /* and 13, 14, but with a gate there is one output */
};

/* Function constants: [[function_constant(CONSTANT_...)]]. */
enum {
    CONSTANT_FORMAT_0 = 0,     /* int: enum format of the first matrix, 0 to 14 (formats.def) */
    CONSTANT_FORMAT_1 = 1,     /* int: -1 where there is none */
    CONSTANT_FORMAT_2 = 2,
    CONSTANT_HAS_MATRIX_1 = 3, /* bool: buffers of the second matrix are bound */
    CONSTANT_HAS_MATRIX_2 = 4,
    CONSTANT_HAS_BIAS_0 = 5, /* bool */
    CONSTANT_HAS_BIAS_1 = 6,
    CONSTANT_HAS_BIAS_2 = 7,
    CONSTANT_HAS_NORM = 8,     /* bool: x, or every head, is normalised on the way in (matvec,
                                * rope_kv_write) */
    CONSTANT_HAS_RESIDUAL = 9, /* bool */
    CONSTANT_GATE = 10,        /* int: enum gate */
    CONSTANT_TOKENS = 11,      /* int: rows a matvec computes at one reading of the weights */
    CONSTANT_SELECTED = 12,    /* bool: row i of the input is the token step.logit_rows[i] */
    CONSTANT_KV_F16 = 13,      /* bool: pages hold half, else float */
    CONSTANT_HEAD_DIM = 14,    /* int */
    CONSTANT_GROUP_HEADS = 15, /* int: query heads that one threadgroup of attention serves */
    CONSTANT_SPLIT = 16,       /* bool: attention writes partial results */
};

enum gate { GATE_NONE, GATE_SILU, GATE_GELU };
enum { ROWS_OF_TOKENS, ROWS_OF_LOGITS }; /* enum rows of native/program.h */

/* Threads a threadgroup, and what one threadgroup covers. */
enum {
    SIMD_WIDTH = 32,
    ELEMENT_THREADS = 256, /* element-wise kernels, select, embed, rope: threads along a row */
    NORM_THREADS = 256,    /* rms_norm, layer_norm, softmax: one row a threadgroup */
    MATVEC_SIMDGROUPS = 2, /* matvec: simdgroups a threadgroup */
    MATVEC_ROWS = 4,       /* matvec: outputs a simdgroup */
    MATVEC_MAX_TOKENS = 8, /* more rows than these go to matmul */
    MATMUL_THREADS = 128,  /* matmul: 4 simdgroups on a tile of */
    MATMUL_OUTS = 64,      /*   64 outputs */
    MATMUL_TOKENS = 32,    /*   and 32 rows, */
    MATMUL_GATE_OUTS = 32, /*   or, with a gate, 32 outputs of gate and up each */
    PAGE_POSITIONS = 32,   /* positions a page of the KV cache holds: backends/base.py */
    DECODE_THREADS = 256,    /* attention_decode: 8 simdgroups share the pages of a split */
    PREFILL_THREADS = 128,   /* attention_prefill: 4 simdgroups, 8 queries each */
    ATTENTION_MAX_HEADS = 8, /* query heads of one KV head that share a reading of the pages */
    MAX_HEAD_DIM = 256,      /* sizes arrays of registers, which function constants cannot */
    SPLIT_PAGES = 16,        /* pages of one split of attention_decode */
    TILE_TOKENS = 32,        /* query tokens of one tile of attention_prefill */
    TILE_MIN_TOKENS = 8,     /* shorter runs go to attention_decode */
    TOP_THREADS = 1024,      /* argmax, top_k: one row of logits a threadgroup */
    TOP_MAX = 1024,          /* largest k */
};

/* The step. The arrays lie in one buffer, at these places (in int32). Rows of logits, when none are
 * wanted: n_logits = 0, and kernels over them are not dispatched. */
typedef struct {
    int32_t n_tokens;
    int32_t n_logits;
    int32_t n_splits;   /* of attention_decode: the longest sequence's pages / SPLIT_PAGES, rounded up */
    int32_t max_pages;  /* stride of page_table */
    int32_t token_ids;  /* [n_tokens] */
    int32_t positions;  /* [n_tokens] */
    int32_t sequences;  /* [n_tokens] rows of page_table */
    int32_t logit_rows; /* [n_logits] */
    int32_t singles;    /* tokens that attention_decode computes */
    int32_t tiles;      /* (first token, count) of each tile of attention_prefill */
    int32_t page_table; /* [n_sequences, max_pages] */
} step_args;

/* embed, select, element-wise: rows of `width` floats. */
typedef struct {
    int32_t width;
    int32_t rows;      /* ROWS_OF_... of the output */
    int32_t row_bytes; /* embed: of the table */
    float scale;       /* scale */
} element_args;

/* rms_norm, layer_norm. */
typedef struct {
    int32_t width;
    int32_t rows;
    float eps;
} norm_args;

/* matvec and matmul: up to three matrices that read the same rows. Threadgroups along x:
 * [0, end[0]) work on the first matrix, [end[0], end[1]) on the second, and so on. With a gate the
 * first two are gate and up, of equal shape, and end[0] is all there is: in matmul, groups of
 * MATMUL_GATE_OUTS outputs. */
typedef struct {
    int32_t n_in;
    int32_t rows;
    float eps;
    int32_t n_out[3];
    int32_t end[3];
    int32_t row_bytes[3];
} matmul_args;

/* rope_table: turns a position advances each pair, as the sum of two floats. */
typedef struct {
    int32_t n_pairs;
    float scale; /* of cos and sin */
} rope_table_args;

/* A slab of the KV cache: SLAB_PAGES pages. In a page, layer by layer: keys [n_kv_heads,
 * head_dim / 2, PAGE_POSITIONS, 2], then values [n_kv_heads, PAGE_POSITIONS, head_dim] (kv.h). */
enum { SLAB_PAGES = 16 };
typedef struct {
    DEVICE_POINTER(uint8_t) pages;
} kv_slab;

/* rope, kv_write, rope_kv_write, attention and its parts. head_dim is CONSTANT_HEAD_DIM. */
typedef struct {
    int32_t n_heads;
    int32_t n_kv_heads;
    int32_t rotary_dim;
    int32_t neox;        /* pairs are (i, i + rotary_dim / 2), not (2i, 2i + 1) */
    int32_t rows;        /* rope */
    int32_t capacity;    /* attention_scores, softmax, attention_mix: positions of a score row */
    uint32_t page_bytes; /* all layers */
    uint32_t layer_bytes;    /* from a page's start to this layer's keys */
    float scale;
    float eps;           /* rope_kv_write with HAS_NORM */
} attention_args;

/* argmax, top_k: the k largest logits of a row, largest first, ties by the lower id. A row with a
 * NaN or +inf among its logits gives its first such token first. */
typedef struct {
    int32_t n_vocab;
    int32_t k;
} top_args;
typedef struct {
    int32_t id;
    float logit;
} top_entry;

#endif
