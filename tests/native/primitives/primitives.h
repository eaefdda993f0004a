/* One round of every v_ primitive: its operands, and what an instruction set made of them. */
#ifndef SMELT_TESTS_PRIMITIVES_H
#define SMELT_TESTS_PRIMITIVES_H

#include <stdint.h>

enum { MOST_OUTPUTS = 80, OUTPUT_BYTES = 64 };

typedef struct {
    const char *name;
    int is_float; /* then any NaN is as good as another */
    int nbytes;
    unsigned char bytes[OUTPUT_BYTES];
} output;

typedef struct {
    float f[3][16];        /* any floats */
    float moderate[2][16]; /* |x| <= 2^31, finite */
    uint16_t halves[16];   /* any bits */
    int32_t i[2][16];      /* any bits */
    int32_t small[3][16];  /* |x| < 2^13, so that sums and products do not overflow */
    int32_t exponents[16]; /* -126 to 128 */
    int16_t h[2][32];      /* any bits */
    int16_t codes[2][32];  /* |x| < 2^14, as in dot products */
    int16_t indices[32];   /* 0 to 15 */
    uint8_t bytes[32];
    uint8_t table[16];     /* table[0] is 0 */
    int n_outputs;
    output outputs[MOST_OUTPUTS];
} primitive_round;

#endif
