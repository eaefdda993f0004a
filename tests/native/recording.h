/* Small Programs, recorded in C and run through the CPU device's own surface (native/cpu/cpu.h).
 *
 * A recording's inputs are the rows of F32 tables that embed copies, a token's id being its row;
 * its result is the value that lies in the step's logits, here with one row a token.
 */
#ifndef SMELT_TESTS_RECORDING_H
#define SMELT_TESTS_RECORDING_H

#include "check.h"
#include "cpu/cpu.h"
#include "formats/formats.h"

enum { MOST_OPS = 64, MOST_VALUES = 64, MOST_WEIGHTS = 32 };

typedef struct {
    op_record ops[MOST_OPS];
    value_record values[MOST_VALUES];
    weight_record weights[MOST_WEIGHTS];
    guarded memory[2 * MOST_WEIGHTS];
    int n_ops, n_values, n_weights, n_memory;
    int result_width;
    int64_t arena_bytes;
    const void *last_blocks; /* of the last matrix or table, as a file holds them */
    enum edge edge; /* where the guard page of the next weights is */
} recording;

void recording_free(recording *r);

int add_value(recording *r, int width);
int add_result(recording *r, int width); /* the value that is the step's logits */

/* A weight of random blocks whose largest |weight| lies between 2^-10 and 1, as a file holds it,
 * for embed; and such a weight as matmul wants it, packed where its format is packed. */
int add_table(recording *r, enum format format, int n_out, int n_in);
int add_matrix(recording *r, enum format format, int n_out, int n_in);
int add_floats(recording *r, int n_out, int n_in, const float *x);
int add_doubles(recording *r, int n_in, const double *x);

/* An op that waits for all earlier ones, its operands absent, to be filled in. */
op_record *add_op(recording *r, enum op op);

/* x W^T and its relatives are filled in so often that they have a short form. */
op_record *add_op_xyw(recording *r, enum op op, int x, int y, int weight);
int add_input(recording *r, int n_rows, int width, const float *x); /* embed: the value */

/* Rows [n_tokens, n_in] of different scales, some zero, some with an outlier. */
void fill_activations(float *x, int n_tokens, int n_in);

/* The last matrix or table that was added, [n_out, n_in], by the format's own decoder; free() it. */
float *decode_last(const recording *r);

typedef struct {
    int n_layers, n_kv_heads, head_dim, type;
} kv_shape;

typedef struct {
    int isa, n_threads;
    int chunk; /* tokens a step; 0: all at once */
} setting;

/* A batch of sequences of the given lengths, one after the other, over pages in random order;
 * token i has id i. */
typedef struct {
    int n_tokens, n_sequences, max_pages;
    int32_t *ids, *positions, *sequences, *page_table;
} batch;

batch batch_of(int n_sequences, const int *lengths);
void batch_free(batch b);
int batch_pages(const batch *b);

/* The step of tokens [first, first + n) of the batch, whose result goes to `to`. */
step batch_step(const batch *b, int first, int n, float *to);

/* Runs the batch, checks that every step succeeds, and fills result [n_tokens, width]. */
void run_recording(const recording *r, setting s, kv_shape shape, const batch *b, float *result);

program_tables tables_of(const recording *r, int max_tokens);

#endif
