/* The layout that quantised matrices are turned into at load, and its sizes.
 *
 * Sixteen rows make a group, so that a vector lane is a row and no sum has to cross lanes; between the
 * groups of a matrix there may be those of another (row_bytes in program.h). A group is one block
 * after another, and a block lies as it is read: one stream of memory, in which every load of the
 * kernel comes again a fixed distance further, so that the processor fetches ahead. (Sides in a place
 * of their own, or behind every second block so that planes begin on a line, cost a tenth to a fifth
 * of the speed.) Of a block, first the planes of code bits:
 *
 *   a plane holds `width` bits of every code; a unit of 64 bytes is four bytes of each row
 *   byte (r, c), bits width * i and up: the code of weight 4i + {0, 2, 1, 3}[c] of row r
 *   so a unit covers 32 / width weights of 16 rows, and a shift and a mask give four neighbouring
 *   weights of every row as bytes, or two as int16: even bytes are the first pair, odd ones the second
 *
 *   bits a code   2   3       4   5       6       8
 *   planes        2   2 + 1   4   4 + 1   4 + 2   8      low bits first
 *
 * then the rest, in which what belongs to weights that are 32 apart lies side by side, so that a
 * multiply-add of int16 takes both: pair i of a block of 256 is of the weights from 64 u + v on and of
 * those from 64 u + 32 + v on, with i = u for sub-blocks of 32, and i = 2u + v / 16 for those of 16.
 *
 *   scales  int8  [pairs][16 rows][2]               blocks of 256 only
 *   mins    uint8 [pairs][16 rows][2]               MINS_SUBTRACTED
 *   d       half  [16 rows]
 *   m       half  [16 rows]                         unless NO_MINS
 *
 * Of Q4_K and Q5_K, scales and mins have six bits and share 16-bit words [3][16 rows][2]: values 0 to 3
 * are the pairs of scales, 4 to 7 those of mins; word w holds value w in bits 0 to 5, value w + 3 in
 * bits 6 to 11, and in bits 12 to 15 the low four of value 6 (w = 0) or 7 (w = 1), or the high two of
 * both (w = 2).
 *
 * Rows past the last one have d = m = 0. The size is that of the file's blocks, but for Q2_K, Q3_K and
 * IQ4_XS, whose scales take a byte each (100 for 84, 114 for 110, 138 for 136).
 */
#ifndef SMELT_CPU_PACKED_H
#define SMELT_CPU_PACKED_H

#include "formats/formats.h"

enum { GROUP_ROWS = 16, UNIT_BYTES = 64 };

/* Counted up with every change of this layout, or of how matrices share a stream (backends/cpu.py):
 * files of packed matrices (packed_file.py) say which one they have. */
enum { PACKED_LAYOUT = 1 };

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

static inline int has_scales(code_traits t) { return t.block == 256; }

static inline int six_bit_scales(code_traits t)
{
    return t.mins == MINS_SUBTRACTED && t.sub_block == 32;
}

/* Of scales and mins. */
static inline int scale_bytes(code_traits t)
{
    const int each = has_scales(t) ? GROUP_ROWS * 256 / t.sub_block : 0;
    if (six_bit_scales(t)) return 3 * UNIT_BYTES;
    return t.mins == MINS_SUBTRACTED ? 2 * each : each;
}

static inline int side_bytes(code_traits t)
{
    return scale_bytes(t) + GROUP_ROWS * (t.mins == NO_MINS ? 2 : 4);
}

/* Of one block of a group: its planes, and its sides behind them. */
static inline int packed_block_bytes(code_traits t) { return plane_bytes(t, t.bits) + side_bytes(t); }

static inline size_t group_bytes(code_traits t, int n_in)
{
    return (size_t)(n_in / t.block) * (size_t)packed_block_bytes(t);
}

#endif
