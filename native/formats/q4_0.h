/* Q4_0: 32 nibbles times one scale, centred at 8; y = d (q - 8).
 *
 *   byte  0   2                      18
 *         | d | qs: 16 bytes         |
 *   qs    byte i: q(i+16) q(i)            high nibble, low nibble
 *
 * Layout: block_q4_0 of ggml-common.h.
 */
#ifndef SMELT_FORMATS_Q4_0_H
#define SMELT_FORMATS_Q4_0_H

#include "packing.h"

typedef struct {
    uint16_t d; /* half */
    uint8_t qs[16];
} block_q4_0;
static_assert(sizeof(block_q4_0) == BLOCK_BYTES_Q4_0, "block of Q4_0");

enum {
    CODE_BITS_q4_0 = 4,
    CODE_OFFSET_q4_0 = 8,
    SUB_BLOCK_q4_0 = 32,
    MINS_q4_0 = NO_MINS,
};

static inline void fields_q4_0(const block_q4_0 *block, block_fields *f)
{
    unpack_planes(block->qs, 16, 16, 4, f->codes);
    f->d = block->d;
}

#endif
