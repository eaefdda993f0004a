/* The contract between Python, which records a Program once, and the devices, which replay it.
 *
 * A Program is a flat array of op records over two tables: values (activations, at fixed places of
 * one arena) and weights. It holds what does not change; a step carries what does.
 */
#ifndef SMELT_PROGRAM_H
#define SMELT_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

enum op {
#define OP(name, ...) OP_##name,
#include "ops.def"
    OP_COUNT
};

typedef struct {
#define FIELD(type, name) type name;
#define ARRAY(type, name, count) type name[count];
#include "op_record.def"
} op_record;

enum { RECORD_INPUTS = 4, RECORD_OUTPUTS = 3, RECORD_WEIGHTS = 7 };

/* Rows of a value: one a token of the step, or one a token whose logits are wanted. */
enum rows { ROWS_TOKENS, ROWS_LOGITS };

enum { VALUE_IS_LOGITS = -1 }; /* offset of the value that the step's `logits` receives */

typedef struct {
    int64_t offset; /* bytes from the arena's start, or VALUE_IS_LOGITS */
    int32_t width;  /* float32 a row */
    int32_t rows;   /* enum rows */
} value_record;

typedef struct {
    const void *data;  /* [n_out, n_in], rows of whole blocks, or as `packed` says */
    int64_t row_bytes; /* packed: a sixteenth of the way from a group of 16 rows to the next */
    int32_t format;    /* enum format; FORMAT_F64 for a table of doubles */
    int32_t n_out;
    int32_t n_in;
    int32_t packed;    /* 1: in the device's own layout */
} weight_record;

enum { FORMAT_F64 = 1000 }; /* constants computed at load, not a tensor format of files */

typedef struct {
    int32_t n_tokens;
    int32_t n_logits;
    int32_t n_sequences;
    int32_t max_pages;          /* a sequence: the stride of page_table */
    const int32_t *token_ids;   /* [n_tokens] */
    const int32_t *positions;   /* [n_tokens] in the token's own sequence */
    const int32_t *sequences;   /* [n_tokens] row of page_table */
    const int32_t *page_table;  /* [n_sequences, max_pages] page numbers of the pool */
    const int32_t *logit_rows;  /* [n_logits] tokens of this step whose logits are wanted */
    float *logits;              /* [n_logits, n_vocab] */
} step;

#endif
