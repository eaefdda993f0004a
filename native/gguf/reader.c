/* Reads the header and the metadata of a GGUF file; tensors.c reads the rest. */
#include "cursor.h"

#include <stdlib.h>

enum {
    DEFAULT_ALIGNMENT = 32,
    MIN_ALIGNMENT = 8,       /* the specification: a multiple of 8 */
    MAX_ALIGNMENT = 1 << 20, /* ggml's own bound; real files have 32 to 4,096 */
    MAX_DEPTH = 8,           /* of arrays in arrays */
    MAX_ENTRIES = 1 << 18,   /* keys, tensors: five times the experts of the largest model, unstacked */
    PAIR_BYTES = 8 + 4 + 1,  /* the least that a pair takes: an empty key, a type, one byte */
    TENSOR_BYTES = 8 + 4 + 4 + 8
};

typedef struct {
    const char *text;
    char code;
    uint8_t smallest;
} value_kind;

static const value_kind kinds[GGUF_VALUE_TYPES] = {
#define VALUE(NAME, number, text, code, smallest) [number] = {text, code, smallest},
#include "values.def"
};

char gguf_value_code(uint32_t type)
{
    return type < GGUF_VALUE_TYPES ? kinds[type].code : 0;
}

static int take_type(cursor *at, uint32_t *type)
{
    TRY(take_u32(at, type, "a value's type"));
    if (*type >= GGUF_VALUE_TYPES) {
        return refuse(at, "expected a value type from 0 to %d at byte %" PRIu64 ", found %" PRIu32,
                      GGUF_VALUE_TYPES - 1, at->position - sizeof *type, *type);
    }
    return GGUF_OK;
}

static int skip_values(cursor *at, uint32_t type, uint64_t count, int depth);

static int skip_arrays(cursor *at, uint64_t count, int depth)
{
    if (depth > MAX_DEPTH) {
        return refuse(at, "expected arrays at most %d deep, found more at byte %" PRIu64, MAX_DEPTH,
                      at->position);
    }
    for (uint64_t i = 0; i < count; i++) {
        uint32_t element;
        uint64_t inner;
        TRY(take_type(at, &element));
        TRY(take_u64(at, &inner, "an array's count"));
        TRY(skip_values(at, element, inner, depth));
    }
    return GGUF_OK;
}

static int skip_bools(cursor *at, uint64_t count)
{
    for (const uint64_t end = at->position + count; at->position < end; at->position++) {
        const uint8_t value = at->bytes[at->position];
        if (value > 1) {
            return refuse(at, "expected a bool, 0 or 1, at byte %" PRIu64 ", found %d", at->position, value);
        }
    }
    return GGUF_OK;
}

/* Moves behind `count` values of one type, `depth` arrays deep. */
static int skip_values(cursor *at, uint32_t type, uint64_t count, int depth)
{
    /* This bound also keeps the sums and products below inside the file's size. */
    if (count > bytes_left(at) / kinds[type].smallest) {
        return refuse(at,
                      "%" PRIu64 " values of type %s at byte %" PRIu64 " do not fit in a file of %" PRIu64
                      " bytes; it is truncated or damaged",
                      count, kinds[type].text, at->position, at->size);
    }
    switch (type) {
    case GGUF_STRING:
        for (uint64_t i = 0; i < count; i++) {
            gguf_span text;
            TRY(take_string(at, &text, "a string"));
        }
        return GGUF_OK;
    case GGUF_ARRAY:
        return skip_arrays(at, count, depth + 1);
    case GGUF_BOOL:
        return skip_bools(at, count);
    default:
        at->position += count * kinds[type].smallest;
        return GGUF_OK;
    }
}

static int read_pair(cursor *at, uint64_t number, gguf_pair *pair)
{
    TRY(take_name(at, GGUF_SUBJECT_PAIR, number, &pair->key));
    TRY(take_type(at, &pair->type));
    pair->element = pair->type;
    pair->count = 1;
    if (pair->type == GGUF_STRING) {
        return take_string(at, &pair->value, "a string");
    }
    if (pair->type == GGUF_ARRAY) {
        TRY(take_type(at, &pair->element));
        TRY(take_u64(at, &pair->count, "an array's count"));
    }
    pair->value.offset = at->position;
    TRY(skip_values(at, pair->element, pair->count, pair->type == GGUF_ARRAY));
    pair->value.length = at->position - pair->value.offset;
    return GGUF_OK;
}

static int read_alignment(cursor *at, const gguf_pair *pair, uint32_t *alignment)
{
    static const char key[] = "general.alignment";
    if (pair->key.length != sizeof key - 1 ||
        memcmp(at->bytes + pair->key.offset, key, sizeof key - 1) != 0) {
        return GGUF_OK;
    }
    if (pair->type != GGUF_UINT32) {
        return refuse(at, "expected a value of type uint32, found %s", kinds[pair->type].text);
    }
    memcpy(alignment, at->bytes + pair->value.offset, sizeof *alignment);
    if (*alignment < MIN_ALIGNMENT || *alignment > MAX_ALIGNMENT || (*alignment & (*alignment - 1)) != 0) {
        return refuse(at, "expected a power of two from %d to %d, found %" PRIu32, MIN_ALIGNMENT,
                      MAX_ALIGNMENT, *alignment);
    }
    return GGUF_OK;
}

static int check_count(cursor *at, uint64_t count, uint64_t smallest, const char *what)
{
    if (count > bytes_left(at) / smallest) {
        return refuse(at,
                      "the header announces %" PRIu64 " %s, but a file of %" PRIu64
                      " bytes cannot hold more than %" PRIu64 "; it is truncated or damaged",
                      count, what, at->size, bytes_left(at) / smallest);
    }
    if (count > MAX_ENTRIES) {
        return refuse(at, "the header announces %" PRIu64 " %s, but smelt reads at most %d", count, what,
                      MAX_ENTRIES);
    }
    return GGUF_OK;
}

static int read_header(cursor *at, gguf_index *index)
{
    static const char magic[] = "GGUF";
    const uint8_t *found = at->bytes;
    TRY(skip(at, sizeof magic - 1, "the magic"));
    if (memcmp(found, magic, sizeof magic - 1) != 0) {
        return refuse(at, "expected a GGUF file, which begins with 47 47 55 46, found %02x %02x %02x %02x",
                      found[0], found[1], found[2], found[3]);
    }
    TRY(take_u32(at, &index->version, "the version"));
    if (index->version != 0 && (index->version & 0xFFFF) == 0) {
        return refuse(at, "expected a little-endian file, found a big-endian one (version bytes %08" PRIx32
                          "); convert it with gguf-convert-endian of the gguf package",
                      index->version);
    }
    if (index->version != 2 && index->version != 3) {
        return refuse(at, "expected version 2 or 3 of the format, found %" PRIu32
                          "; convert the model again with a current converter",
                      index->version);
    }
    TRY(take_u64(at, &index->n_tensors, "the number of tensors"));
    TRY(take_u64(at, &index->n_pairs, "the number of metadata entries"));
    TRY(check_count(at, index->n_pairs, PAIR_BYTES, "metadata entries"));
    return check_count(at, index->n_tensors, TENSOR_BYTES, "tensors");
}

int gguf_read(const uint8_t *file, uint64_t nbytes, gguf_index *index, gguf_error *error)
{
    cursor at = {file, nbytes, 0, error};
    memset(index, 0, sizeof *index);
    memset(error, 0, sizeof *error);
    index->alignment = DEFAULT_ALIGNMENT;
    TRY(read_header(&at, index));

    index->pairs = calloc(index->n_pairs + 1, sizeof *index->pairs);
    index->tensors = calloc(index->n_tensors + 1, sizeof *index->tensors);
    if (!index->pairs || !index->tensors) {
        return GGUF_NO_MEMORY;
    }
    for (uint64_t i = 0; i < index->n_pairs; i++) {
        TRY(read_pair(&at, i, &index->pairs[i]));
        TRY(read_alignment(&at, &index->pairs[i], &index->alignment));
    }
    return gguf_read_tensors(&at, index);
}

void gguf_free(gguf_index *index)
{
    free(index->pairs);
    free(index->tensors);
    memset(index, 0, sizeof *index);
}

int gguf_next_string(const uint8_t *file, uint64_t nbytes, uint64_t *position, gguf_span *text)
{
    gguf_error ignored;
    cursor at = {file, nbytes, *position, &ignored};
    if (*position > nbytes) {
        return GGUF_REFUSED;
    }
    TRY(take_string(&at, text, "a string"));
    *position = at.position;
    return GGUF_OK;
}
