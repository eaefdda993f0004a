/* The layout that quantised matrices are turned into at load, and its sizes.
 *
 * Sixteen rows make a group, so that a vector lane is a row and no sum has to cross lanes. A group is
 * one block after another, and a block lies as it is read: one stream of memory, in which every load
 * of the kernel comes again a fixed distance further, so that the processor fetches ahead. (Sides in
 * a place of their own, or behind every second block so that planes begin on a line, cost a tenth to
 * a fifth of the speed.) Of a block, first the planes of code bits:
 *
 *   a plane holds `width` bits of every code; a unit of 64 bytes is 32 lanes of 16 bits, two a row
 *   lane (r, p), bits width * i and up: the code of weight 2i + p of row r
 *   so a unit covers 32 / width weights of 16 rows, and a shift and a mask give a vector vh that
 *   holds two neighbouring weights of every row
 *
 *   bits a code   2   3       4   5       6       8
 *   planes        2   2 + 1   4   4 + 1   4 + 2   8      low bits first
 *
 * then the rest:
 *
 *   scales  int8  [block / SUB_BLOCK][16 rows]      blocks of 256 only
 *   mins    uint8 [8][16 rows]                      SUB_BLOCK 32, MINS_SUBTRACTED
 *           uint8 [8][16 rows][2]                   SUB_BLOCK 16: of two neighbours
 *   d       half  [16 rows]
 *   m       half  [16 rows]                         unless NO_MINS
 *
 * Rows past the last one have d = m = 0. The size is that of the file's blocks, but for Q4_K and
 * Q5_K, whose 6-bit scales take a byte each (148 for 144 bytes, 180 for 176), and for Q2_K, Q3_K
 * and IQ4_XS likewise (100 for 84, 114 for 110, 138 for 136).
 */
#ifndef SMELT_CPU_PACKED_H
#define SMELT_CPU_PACKED_H

#include "formats/formats.h"

enum { GROUP_ROWS = 16, UNIT_BYTES = 64 };

/* What the packer and the kernels must know of a format; of float formats only `block`. */
typedef struct {
    int block, bits, offset, sub_block, mins, lookup;
} code_traits;

#define TRAITS_1(name) ((code_traits){1, 0, 0, 0, 0, 0})
#define TRAITS_BLOCK(name, size)                                                                   \
    ((code_traits){size, CODE_BITS_##name, CODE_OFFSET_##name, SUB_BLOCK_##name, MINS_##name,      \
                   (int)CODE_OFFSET_##name == (int)IQ4_OFFSET})
#define TRAITS_32(name) TRAITS_BLOCK(name, 32)
#define TRAITS_256(name) TRAITS_BLOCK(name, 256)

static inline int low_plane_width(code_traits t)
{
    return t.bits == 8 ? 8 : t.bits >= 4 ? 4 : 2;
}

static inline int high_plane_width(code_traits t) { return t.bits - low_plane_width(t); }

/* Bytes of one block of 16 rows: a plane, and all that is not planes. */
static inline int plane_bytes(code_traits t, int width) { return GROUP_ROWS * t.block * width / 8; }

static inline int scale_rows(code_traits t) { return t.block == 256 ? 256 / t.sub_block : 0; }

static inline int min_bytes(code_traits t)
{
    return t.mins == MINS_SUBTRACTED ? GROUP_ROWS * 256 / t.sub_block : 0;
}

static inline int side_bytes(code_traits t)
{
    return GROUP_ROWS * (scale_rows(t) + (t.mins == NO_MINS ? 2 : 4)) + min_bytes(t);
}

/* Of one block of a group: its planes, and its sides behind them. */
static inline int packed_block_bytes(code_traits t) { return plane_bytes(t, t.bits) + side_bytes(t); }

static inline size_t group_bytes(code_traits t, int n_in)
{
    return (size_t)(n_in / t.block) * (size_t)packed_block_bytes(t);
}

#endif
