/* Turns quantised matrices into the layout of packed.h. */
#include "cpu/packed.h"

#include <string.h>

#include "cpu/inline.h"
#include "cpu/internal.h"

/* Eight codes, one a byte: of each four, the middle two change places. */
V_INLINE uint64_t swap_middles(uint64_t z)
{
    const uint64_t second = 0x0000ff000000ff00;
    return (z & ~(second | second << 8)) | (z & second) << 8 | (z >> 8 & second);
}

/* Bits [shift, shift + width) of every code of a row, into its four bytes of each unit. Eight codes at
 * a time, since a model has a billion of them and loading should not take a second. */
V_INLINE void pack_row(const uint8_t *codes, int n_weights, int shift, int width, uint8_t *to)
{
    const uint64_t mask = 0x0101010101010101u * ((1u << width) - 1);
    for (int first = 0; first < n_weights; first += 32 / width, to += UNIT_BYTES) {
        uint64_t fields = 0;
        for (int eight = 0; eight < 4 / width; eight++) {
            uint64_t z;
            memcpy(&z, codes + first + 8 * eight, sizeof z);
            fields |= (z >> shift & mask) << 2 * width * eight;
        }
        fields = swap_middles(fields);
        uint32_t bytes = (uint32_t)fields | (uint32_t)(fields >> 32) << width;
        memcpy(to, &bytes, sizeof bytes);
    }
}

/* The same for whole bytes. */
V_INLINE void pack_bytes(const uint8_t *codes, int n_weights, uint8_t *to)
{
    for (int first = 0; first < n_weights; first += 8) {
        uint64_t z;
        memcpy(&z, codes + first, sizeof z);
        z = swap_middles(z);
        for (int half = 0; half < 2; half++, z >>= 32, to += UNIT_BYTES) {
            uint32_t bytes = (uint32_t)z;
            memcpy(to, &bytes, sizeof bytes);
        }
    }
}

/* One plane of a block of 16 rows. */
V_INLINE void pack_plane(const block_fields *rows, int n_weights, int shift, int width, uint8_t *to)
{
    for (int r = 0; r < GROUP_ROWS; r++, to += 4) {
        if (width == 8) pack_bytes(rows[r].codes, n_weights, to);
        else pack_row(rows[r].codes, n_weights, shift, width, to);
    }
}

/* Of pair i of a block of 256, the sub-block that is first; the other is behind it by 32 weights. */
static inline int first_of_pair(code_traits t, int i)
{
    return t.sub_block == 32 ? 2 * i : i / 2 * 4 + i % 2;
}

V_INLINE uint8_t *pack_pairs(const block_fields *rows, code_traits t, int of_mins, uint8_t *to)
{
    for (int i = 0; i < 128 / t.sub_block; i++)
        for (int r = 0; r < GROUP_ROWS; r++)
            for (int half = 0; half < 2; half++) {
                int j = first_of_pair(t, i) + half * (32 / t.sub_block);
                *to++ = of_mins ? rows[r].mins[j] : (uint8_t)rows[r].scales[j];
            }
    return to;
}

V_INLINE uint8_t *pack_six_bits(const block_fields *rows, uint8_t *to)
{
    for (int r = 0; r < GROUP_ROWS; r++)
        for (int half = 0; half < 2; half++, to += 2) {
            unsigned v[8];
            for (int i = 0; i < 4; i++) {
                v[i] = (uint8_t)rows[r].scales[2 * i + half];
                v[4 + i] = rows[r].mins[2 * i + half];
            }
            for (int w = 0; w < 3; w++) {
                unsigned rest = w < 2 ? v[6 + w] & 15 : v[6] >> 4 | v[7] >> 4 << 2;
                uint16_t word = (uint16_t)(v[w] | v[w + 3] << 6 | rest << 12);
                memcpy(to + UNIT_BYTES * w, &word, sizeof word);
            }
        }
    return to + 2 * UNIT_BYTES;
}

V_INLINE void pack_side(const block_fields *rows, code_traits t, uint8_t *to)
{
    if (six_bit_scales(t)) to = pack_six_bits(rows, to);
    else if (has_scales(t)) to = pack_pairs(rows, t, 0, to);
    if (t.mins == MINS_SUBTRACTED && !six_bit_scales(t)) to = pack_pairs(rows, t, 1, to);
    for (int part = 0; part < (t.mins == NO_MINS ? 1 : 2); part++)
        for (int r = 0; r < GROUP_ROWS; r++, to += 2)
            memcpy(to, part ? &rows[r].m : &rows[r].d, 2);
}

typedef void fields_function(const void *block, block_fields *f);

V_INLINE void pack_group(code_traits t, fields_function fields, size_t block_bytes,
                         const uint8_t *from, size_t row_bytes, int n_rows, int n_in, uint8_t *to)
{
    const int low = low_plane_width(t), high = high_plane_width(t), n_blocks = n_in / t.block;
    block_fields rows[GROUP_ROWS];
    memset(rows, 0, sizeof rows);
    for (int b = 0; b < n_blocks; b++) {
        for (int r = 0; r < n_rows; r++)
            fields(from + (size_t)r * row_bytes + (size_t)b * block_bytes, &rows[r]);
        pack_plane(rows, t.block, 0, low, to);
        if (high) pack_plane(rows, t.block, low, high, to + plane_bytes(t, low));
        pack_side(rows, t, to + plane_bytes(t, t.bits));
        to += packed_block_bytes(t);
    }
}

#define PACK_1(name)
#define PACK_QUANTISED(name)                                                                       \
    static void take_apart_##name(const void *block, block_fields *f) { fields_##name(block, f); } \
    static void pack_group_##name(const uint8_t *from, size_t row_bytes, int n_rows, int n_in,     \
                                  uint8_t *to)                                                     \
    {                                                                                              \
        pack_group(traits_##name(), take_apart_##name, sizeof(block_##name), from, row_bytes,      \
                   n_rows, n_in, to);                                                              \
    }
#define PACK_32(name) PACK_QUANTISED(name)
#define PACK_256(name) PACK_QUANTISED(name)
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes)                                  \
    static code_traits traits_##name(void) { return TRAITS_##block_weights(name); }                \
    PACK_##block_weights(name)
#include "formats.def"

typedef struct {
    code_traits (*traits)(void);
    void (*pack)(const uint8_t *from, size_t row_bytes, int n_rows, int n_in, uint8_t *to);
} packer;

#define PACKER_1(name) NULL
#define PACKER_32(name) pack_group_##name
#define PACKER_256(name) pack_group_##name
static const packer packers[FORMAT_COUNT] = {
#define FORMAT(name, NAME, gguf_type, block_weights, block_bytes)                                  \
    {traits_##name, PACKER_##block_weights(name)},
#include "formats.def"
};

size_t cpu_packed_bytes(int format, int n_out, int n_in)
{
    if (format < 0 || format >= FORMAT_COUNT || !packers[format].pack) return 0;
    size_t n_groups = ((size_t)n_out + GROUP_ROWS - 1) / GROUP_ROWS;
    return n_groups * group_bytes(packers[format].traits(), n_in);
}

typedef struct {
    const weight_record *from;
    uint8_t *to;
    size_t stride;
    atomic_int next;
} packing;

static void pack_groups(void *argument, int thread)
{
    packing *p = argument;
    const weight_record *w = p->from;
    const int n_groups = (w->n_out + GROUP_ROWS - 1) / GROUP_ROWS;
    (void)thread;
    for (int g; (g = atomic_fetch_add(&p->next, 1)) < n_groups;) {
        int first = g * GROUP_ROWS, n_rows = w->n_out - first;
        packers[w->format].pack((const uint8_t *)w->data + (size_t)first * (size_t)w->row_bytes,
                                (size_t)w->row_bytes, n_rows < GROUP_ROWS ? n_rows : GROUP_ROWS,
                                w->n_in, p->to + (size_t)g * p->stride);
    }
}

int cpu_pack(cpu_device *device, const weight_record *from, void *to, size_t stride)
{
    const size_t group = cpu_packed_bytes(from->format, 1, from->n_in);
    if (group == 0 || stride < group) return -1;
    packing p = {.from = from, .to = to, .stride = stride};
    atomic_init(&p.next, 0);
    pool_run(cpu_device_pool(device), pack_groups, &p);
    return 0;
}

typedef struct {
    char *memory;
    size_t bytes;
    atomic_size_t next;
} touching;

static void touch_pages(void *argument, int thread)
{
    touching *t = argument;
    (void)thread;
    for (size_t at; (at = atomic_fetch_add(&t->next, HUGE_PAGE_BYTES)) < t->bytes;)
        ((volatile char *)t->memory)[at] = 0;
}

void cpu_touch(cpu_device *device, void *fresh, size_t bytes)
{
    touching t = {.memory = fresh, .bytes = bytes};
    atomic_init(&t.next, 0);
    pool_run(cpu_device_pool(device), touch_pages, &t);
}
