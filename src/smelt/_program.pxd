"""The records of native/program.h and native/checks.h, for the bindings of every device."""

from libc.stdint cimport int32_t, int64_t

cdef extern from "checks.h" nogil:
    enum: PAGE_TOKENS
    enum: STEP_OK
    enum: STEP_CANCELLED
    enum: STEP_INTERRUPTED
    enum: STEP_BAD_TOKEN
    enum: STEP_BAD_PLACE
    enum: STEP_TOO_LARGE
    enum: STEP_BAD_CACHE
    enum: STEP_FORKED
    ctypedef struct op_record:
        pass
    ctypedef struct value_record:
        pass
    ctypedef struct weight_record:
        pass
    ctypedef struct program_tables:
        const op_record *ops
        const value_record *values
        const weight_record *weights
        int n_ops
        int n_values
        int n_weights
        int max_tokens
        int max_logits
        int64_t arena_bytes
    ctypedef struct step_t "step":
        int32_t n_tokens
        int32_t n_logits
        int32_t n_sequences
        int32_t max_pages
        const int32_t *token_ids
        const int32_t *positions
        const int32_t *sequences
        const int32_t *page_table
        const int32_t *logit_rows
        float *logits
