/* What every device checks before it follows a program's or a step's numbers. */
#ifndef SMELT_CHECKS_H
#define SMELT_CHECKS_H

#include "program.h"

enum { PAGE_TOKENS = 32 }; /* positions a page of the KV cache holds */

typedef struct {
    const op_record *ops;
    const value_record *values;
    const weight_record *weights;
    int n_ops, n_values, n_weights;
    int max_tokens, max_logits;
    int64_t arena_bytes;
} program_tables;

/* What a pool of KV pages was made for. */
typedef struct {
    int n_pages, n_layers, n_kv_heads, head_dim;
} cache_shape;

enum step_status {
    STEP_OK,
    STEP_CANCELLED,
    STEP_INTERRUPTED, /* poll returned non-zero: a Python exception is set */
    STEP_BAD_TOKEN,   /* a token id outside the vocabulary */
    STEP_BAD_PLACE,   /* a position, sequence, page or row outside its table */
    STEP_TOO_LARGE,   /* more tokens or logits than the program was planned for */
    STEP_BAD_CACHE,   /* an op works on another layer or other heads than the KV cache has */
    STEP_FORKED,      /* the threads did not survive a fork */
};

/* The first op whose record points outside its tables, lacks an operand that ops.def names or has
 * one that it does not; or -1. */
int program_check(const program_tables *tables);

/* Whether a step fits a program, and both a pool of KV pages: STEP_OK or one of STEP_BAD_TOKEN,
 * STEP_BAD_PLACE, STEP_TOO_LARGE and STEP_BAD_CACHE. */
enum step_status step_check(const program_tables *tables, cache_shape kv, const step *step);

#endif
