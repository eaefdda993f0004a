/* Reads the tensor descriptors of a GGUF file and places each tensor's data inside the file. */
#include "cursor.h"

static const gguf_format formats[] = {
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes) \
    {#name, gguf_type, block_weights, block_bytes, 1},
#define UNSUPPORTED_FORMAT(name, NAME, gguf_type, block_weights, block_bytes) \
    {#name, gguf_type, block_weights, block_bytes, 0},
#include "formats.def"
};

static const gguf_format *find_format(uint32_t type)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (formats[i].type == type) {
            return &formats[i];
        }
    }
    return NULL;
}

/* Sets data.length, the bytes of the tensor, from its dimensions and its format. */
static int measure(cursor *at, gguf_tensor *tensor)
{
    uint64_t weights = 1;
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        const uint64_t dim = tensor->dims[i];
        if (dim == 0) {
            return refuse(at, "expected dimensions of at least 1, found 0 as dimension %" PRIu32, i);
        }
        if (dim > INT64_MAX / weights) {
            return refuse(at, "expected fewer than 2^63 weights, found more: dimension %" PRIu32 " is %" PRIu64,
                          i, dim);
        }
        weights *= dim;
    }
    const gguf_format *format = tensor->format;
    if (!format) {
        return GGUF_OK;
    }
    const uint64_t row = tensor->n_dims > 0 ? tensor->dims[0] : 1;
    if (row % format->block_weights != 0) {
        return refuse(at, "expected rows of a multiple of %" PRIu32 " weights, a block of %s, found %" PRIu64,
                      format->block_weights, format->name, row);
    }
    const uint64_t blocks = weights / format->block_weights;
    if (blocks > INT64_MAX / format->block_bytes) {
        return refuse(at, "expected fewer than 2^63 bytes, found %" PRIu64 " blocks of %" PRIu32 " bytes",
                      blocks, format->block_bytes);
    }
    tensor->data.length = blocks * format->block_bytes;
    return GGUF_OK;
}

static int read_tensor(cursor *at, uint64_t number, gguf_tensor *tensor)
{
    TRY(take_name(at, GGUF_SUBJECT_TENSOR, number, &tensor->name));
    TRY(take_u32(at, &tensor->n_dims, "the number of dimensions"));
    if (tensor->n_dims > GGUF_MAX_DIMS) {
        return refuse(at, "expected at most %d dimensions, found %" PRIu32, GGUF_MAX_DIMS, tensor->n_dims);
    }
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        TRY(take_u64(at, &tensor->dims[i], "a dimension"));
    }
    TRY(take_u32(at, &tensor->type, "the tensor's type"));
    TRY(take_u64(at, &tensor->data.offset, "the tensor's offset"));
    tensor->format = find_format(tensor->type);
    return measure(at, tensor);
}

/* Turns data.offset, counted from the start of all data, into a place in the file. */
static int place(cursor *at, uint64_t data_start, uint32_t alignment, gguf_tensor *tensor)
{
    const uint64_t offset = tensor->data.offset;
    if (offset % alignment != 0) {
        return refuse(at, "expected an offset that is a multiple of the alignment %" PRIu32 ", found %" PRIu64,
                      alignment, offset);
    }
    const uint64_t room = data_start <= at->size ? at->size - data_start : 0;
    if (offset > room || tensor->data.length > room - offset) {
        return refuse(at,
                      "its %" PRIu64 " bytes at offset %" PRIu64 " do not fit in the %" PRIu64
                      " bytes of data of the file; it is truncated or damaged",
                      tensor->data.length, offset, room);
    }
    tensor->data.offset = data_start + offset;
    return GGUF_OK;
}

int gguf_read_tensors(cursor *at, gguf_index *index)
{
    for (uint64_t i = 0; i < index->n_tensors; i++) {
        TRY(read_tensor(at, i, &index->tensors[i]));
    }
    const uint64_t mask = index->alignment - 1;
    const uint64_t data_start = (at->position + mask) & ~mask;
    for (uint64_t i = 0; i < index->n_tensors; i++) {
        gguf_tensor *tensor = &index->tensors[i];
        at->error->number = i;
        at->error->name = tensor->name;
        TRY(place(at, data_start, index->alignment, tensor));
    }
    return GGUF_OK;
}
