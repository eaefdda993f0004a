/* Turns quantised matrices into the layout of packed.h. */
#include "cpu/packed.h"

#include <string.h>

#include "cpu/internal.h"

/* Fields of `width` bits of eight codes, one a byte of z: those of codes 0, 2, 4, 6 side by side in
 * the lower half of the result, those of 1, 3, 5, 7 in the upper. Eight at a time, by shifting the
 * word over itself, since a model has a billion codes and loading should not take a second. */
static inline uint32_t two_lanes(uint64_t z, int width)
{
    uint64_t pairs = z | z >> (16 - width); /* bytes 0 and 1, 4 and 5: two fields each */
    if (width == 4)
        return (uint32_t)((pairs & 0xff) | (pairs >> 24 & 0xff00) | (pairs & 0xff00) << 8
                          | (pairs >> 16 & 0xff000000));
    uint64_t fours = pairs | pairs >> (32 - 2 * width), mask = (1u << 4 * width) - 1;
    return (uint32_t)((fours & mask) | (fours >> 8 & mask) << 16);
}

/* Bits [shift, shift + width) of every code of a row, into its two lanes of each unit. */
static inline void pack_row(const uint8_t *codes, int n_weights, int shift, int width, uint8_t *to)
{
    const uint64_t mask = 0x0101010101010101u * ((1u << width) - 1);
    for (int first = 0; first < n_weights; first += 32 / width, to += UNIT_BYTES) {
        uint32_t lanes = 0;
        for (int eight = 0; eight < 4 / width; eight++) {
            uint64_t z;
            memcpy(&z, codes + first + 8 * eight, sizeof z);
            lanes |= two_lanes(z >> shift & mask, width) << (4 * width * eight);
        }
        memcpy(to, &lanes, sizeof lanes);
    }
}

/* The same for whole bytes: of four codes, the middle two change places. */
static inline void pack_bytes(const uint8_t *codes, int n_weights, uint8_t *to)
{
    for (int first = 0; first < n_weights; first += 4, to += UNIT_BYTES) {
        const uint8_t lanes[4] = {codes[first], codes[first + 2], codes[first + 1],
                                  codes[first + 3]};
        memcpy(to, lanes, sizeof lanes);
    }
}

/* One plane of a block of 16 rows. */
static void pack_plane(const block_fields *rows, int n_weights, int shift, int width, uint8_t *to)
{
    for (int r = 0; r < GROUP_ROWS; r++, to += 4) {
        const uint8_t *codes = rows[r].codes;
        switch (width) { /* so that each has its own loop with a constant width */
        case 1: pack_row(codes, n_weights, shift, 1, to); break;
        case 2: pack_row(codes, n_weights, shift, 2, to); break;
        case 4: pack_row(codes, n_weights, shift, 4, to); break;
        default: pack_bytes(codes, n_weights, to);
        }
    }
}

static void pack_side(const block_fields *rows, code_traits t, uint8_t *to)
{
    for (int j = 0; j < scale_rows(t); j++)
        for (int r = 0; r < GROUP_ROWS; r++) *to++ = (uint8_t)rows[r].scales[j];
    if (t.mins == MINS_SUBTRACTED) {
        int together = t.sub_block == 16 ? 2 : 1;
        for (int j = 0; j < 256 / t.sub_block; j += together)
            for (int r = 0; r < GROUP_ROWS; r++)
                for (int k = 0; k < together; k++) *to++ = rows[r].mins[j + k];
    }
    for (int part = 0; part < (t.mins == NO_MINS ? 1 : 2); part++)
        for (int r = 0; r < GROUP_ROWS; r++, to += 2)
            memcpy(to, part ? &rows[r].m : &rows[r].d, 2);
}

typedef void fields_function(const void *block, block_fields *f);

static void pack_group(code_traits t, fields_function fields, size_t block_bytes,
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
    atomic_int next;
} packing;

static void pack_groups(void *argument, int thread)
{
    packing *p = argument;
    const weight_record *w = p->from;
    const int n_groups = (w->n_out + GROUP_ROWS - 1) / GROUP_ROWS;
    const size_t bytes = group_bytes(packers[w->format].traits(), w->n_in);
    (void)thread;
    for (int g; (g = atomic_fetch_add(&p->next, 1)) < n_groups;) {
        int first = g * GROUP_ROWS, n_rows = w->n_out - first;
        packers[w->format].pack((const uint8_t *)w->data + (size_t)first * (size_t)w->row_bytes,
                                (size_t)w->row_bytes, n_rows < GROUP_ROWS ? n_rows : GROUP_ROWS,
                                w->n_in, p->to + (size_t)g * bytes);
    }
}

int cpu_pack(cpu_device *device, const weight_record *from, void *to)
{
    if (cpu_packed_bytes(from->format, from->n_out, from->n_in) == 0) return -1;
    packing p = {.from = from, .to = to};
    atomic_init(&p.next, 0);
    pool_run(cpu_device_pool(device), pack_groups, &p);
    return 0;
}
