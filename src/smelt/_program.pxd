"""The records of native/program.h and native/checks.h, for the bindings of every device."""

from libc.stdint cimport INT32_MAX, int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

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

cdef inline int copy_numbers(int32_t *to, numbers, Py_ssize_t n) except -1:
    cdef Py_ssize_t i
    if len(numbers) != n:
        raise ValueError(f"expected {n} numbers, one a token of the step; found {len(numbers)}")
    for i in range(n):
        to[i] = numbers[i]
    return 0

cdef inline step_t native_step(step) except *:
    """The record of a backends.base.Step, which end_step frees; `logits` is NULL. From lists, since
    after a step nothing is in the caches and NumPy's arrays cost more than the numbers in them. A
    sequence with fewer pages than others has no page behind them, so that a token there is refused."""
    cdef Py_ssize_t n = len(step.token_ids), n_rows = len(step.logit_rows)
    cdef Py_ssize_t n_sequences = len(step.page_table), max_pages = 0, i
    for pages in step.page_table:
        max_pages = max(max_pages, len(pages))
    if max(n, n_rows, n_sequences, max_pages) > INT32_MAX:
        raise OverflowError("a step of more numbers than 32 bits count")
    cdef int32_t *to = <int32_t *>calloc(3 * n + n_rows + n_sequences * max_pages + 1, sizeof(int32_t))
    if to is NULL:
        raise MemoryError("a step")
    cdef step_t s = [n, n_rows, n_sequences, max_pages, to, to + n, to + 2 * n, NULL, to + 3 * n, NULL]
    s.page_table = s.logit_rows + n_rows
    try:
        copy_numbers(to, step.token_ids, n)
        copy_numbers(to + n, step.positions, n)
        copy_numbers(to + 2 * n, step.sequences, n)
        copy_numbers(to + 3 * n, step.logit_rows, n_rows)
        to += 3 * n + n_rows
        memset(to, 0xff, n_sequences * max_pages * sizeof(int32_t))
        for i in range(n_sequences):
            pages = step.page_table[i]
            if len(pages) > max_pages:
                raise ValueError("the page table of a step grows while it is read")
            copy_numbers(to + i * max_pages, pages, len(pages))
    except BaseException:
        end_step(&s)
        raise
    return s

cdef inline void end_step(const step_t *s) noexcept:
    free(<void *>s.token_ids)
