/* What kernels look up in a step: which token a row belongs to, and where that token stands.
 * `data` is the buffer of the step's arrays, whose places step_args gives.
 */
#ifndef SMELT_STEP_H
#define SMELT_STEP_H

#include "kernel_args.h"

/* The token whose logits are row `row` of those wanted. */
static inline int token_of_logits(constant step_args &step, device const int32_t *data, int row)
{
    return data[step.logit_rows + row];
}

/* The row of the input that row `row` of the output is made from: they differ where a kernel reads
 * all tokens and writes only those whose logits are wanted. */
static inline int input_row(constant step_args &step, device const int32_t *data, int row,
                            bool selected)
{
    return selected ? token_of_logits(step, data, row) : row;
}

static inline int position_of(constant step_args &step, device const int32_t *data, int token)
{
    return data[step.positions + token];
}

/* The page table of a token's sequence: entry i is the page of positions
 * i * PAGE_POSITIONS and on. */
static inline device const int32_t *page_table_of(constant step_args &step,
                                                  device const int32_t *data, int token)
{
    return data + step.page_table + data[step.sequences + token] * step.max_pages;
}

#endif
