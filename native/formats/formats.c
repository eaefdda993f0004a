/* The table of tensor formats, expanded from formats.def. */
#include "formats.h"

#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes)                   \
    static void decode_rows_##name(const void *src, float *dst, size_t n_blocks)    \
    {                                                                               \
        const block_##name *blocks = src;                                           \
        for (size_t i = 0; i < n_blocks; i++)                                       \
            decode_##name(&blocks[i], dst + i * block_weights);                     \
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
