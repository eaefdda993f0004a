/* The table of tensor formats, expanded from formats.def. */
#include "formats.h"

#define DECODE_1(name) decode_##name(&blocks[i], y);
#define DECODE_32(name) DECODE_FIELDS(name, 32)
#define DECODE_256(name) DECODE_FIELDS(name, 256)
#define DECODE_FIELDS(name, block)                                                  \
    block_fields f;                                                                 \
    fields_##name(&blocks[i], &f);                                                  \
    decode_fields(&f, block, CODE_BITS_##name, CODE_OFFSET_##name, SUB_BLOCK_##name, \
                  MINS_##name, y);
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes)                   \
    static void decode_rows_##name(const void *src, float *y, size_t n_blocks)      \
    {                                                                               \
        const block_##name *blocks = src;                                           \
        for (size_t i = 0; i < n_blocks; i++, y += block_weights) {                 \
            DECODE_##block_weights(name)                                            \
        }                                                                           \
    }
#include "../formats.def"

static const format_info formats[FORMAT_COUNT] = {
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes) \
    {#name, #NAME, gguf_type, block_weights, block_bytes, decode_rows_##name},
#include "../formats.def"
};

const format_info *format_table(int *count)
{
    *count = FORMAT_COUNT;
    return formats;
}

int decode_rows(int format, const void *src, float *dst, size_t n_blocks)
{
    if (format < 0 || format >= FORMAT_COUNT)
        return -1;
    formats[format].decode(src, dst, n_blocks);
    return 0;
}
