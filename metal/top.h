/* The order in which argmax and top_k see logits: as unsigned integers. */
#ifndef SMELT_TOP_H
#define SMELT_TOP_H

#include "kernel_args.h"

/* Larger logits have larger ranks, equal ones (-0 and 0) the same. A float's bits without the sign
 * grow with it; negative ones are turned round. NaN and +inf come before everything else, as one,
 * so that the first of them is found; no logit has the rank 0. */
static inline uint rank_of(float logit)
{
    uint bits = as_type<uint>(logit);
    const uint sign = 0x80000000, infinity = 0x7f800000;
    if ((bits & ~sign) >= infinity && bits != (sign | infinity)) return UINT_MAX;
    if (bits == sign) bits = 0;
    return bits & sign ? ~bits : bits | sign;
}

#endif
