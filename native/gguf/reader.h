/* What a GGUF file holds, as places among its bytes: found and checked once, before anything is used.
 *
 * A file, little-endian, packed (ggml's docs/gguf.md; versions 2 and 3 differ in byte order only):
 *
 *   "GGUF" | u32 version | u64 n_tensors | u64 n_pairs
 *   n_pairs   times  string key | u32 type | value
 *   n_tensors times  string name | u32 n_dims | u64 dims[n_dims] | u32 type | u64 offset
 *   padding to general.alignment, from where the offsets count | data
 *
 *   a string is  u64 length | text;   an array is  u32 type | u64 count | values
 *
 * Reading never touches a byte outside the file that the caller passes. It does not copy text and
 * does not look for equal names or overlapping data: those need all entries, and Python checks them.
 */
#ifndef SMELT_GGUF_READER_H
#define SMELT_GGUF_READER_H

#include <stdint.h>

enum gguf_status {
    GGUF_OK = 0,
    GGUF_REFUSED = -1,  /* the file is at fault: gguf_error says how */
    GGUF_NO_MEMORY = -2
};

enum gguf_value_type {
#define VALUE(NAME, number, text, code, smallest) GGUF_##NAME = number,
#include "values.def"
    GGUF_VALUE_TYPES
};

enum { GGUF_MAX_DIMS = 4 };

typedef struct {
    uint64_t offset; /* from the start of the file */
    uint64_t length;
} gguf_span;

typedef struct {
    gguf_span key;
    gguf_span value;  /* the scalar, the string's text, or the array's elements */
    uint32_t type;    /* enum gguf_value_type */
    uint32_t element; /* of an array: the type of its elements */
    uint64_t count;   /* of an array: its elements, otherwise 1 */
} gguf_pair;

typedef struct {
    const char *name;
    uint32_t type;
    uint32_t block_weights;
    uint32_t block_bytes;
    int supported;
} gguf_format;

typedef struct {
    gguf_span name;
    gguf_span data;             /* length 0 where the format is unknown, and so the size */
    const gguf_format *format;  /* NULL where the type is not in native/formats.def */
    uint32_t type;
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* as in the file: the contiguous dimension first */
} gguf_tensor;

typedef struct {
    uint32_t version;
    uint32_t alignment;
    uint64_t n_pairs;
    uint64_t n_tensors;
    gguf_pair *pairs;     /* [n_pairs] */
    gguf_tensor *tensors; /* [n_tensors] */
} gguf_index;

enum gguf_subject { GGUF_SUBJECT_FILE, GGUF_SUBJECT_PAIR, GGUF_SUBJECT_TENSOR };

typedef struct {
    char message[240];
    enum gguf_subject subject;
    uint64_t number; /* of the pair or tensor, from 0 */
    gguf_span name;  /* its name; length 0 while that is not known */
} gguf_error;

/* Fills `index`, to be given to gguf_free afterwards whatever is returned, or fills `error`. */
int gguf_read(const uint8_t *file, uint64_t nbytes, gguf_index *index, gguf_error *error);
void gguf_free(gguf_index *index);

/* The string at `*position`, which moves behind it. GGUF_REFUSED where it would leave the file:
 * after a successful gguf_read that means that somebody has rewritten the mapped file. */
int gguf_next_string(const uint8_t *file, uint64_t nbytes, uint64_t *position, gguf_span *text);

/* The struct code of a value type; 0 for strings, arrays and numbers that are no type. */
char gguf_value_code(uint32_t type);

#endif
