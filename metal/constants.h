/* The function constants of kernel_args.h, declared once for all kernels: a pipeline is compiled
 * with the values that the host gives, and what they rule out is gone from it.
 */
#ifndef SMELT_CONSTANTS_H
#define SMELT_CONSTANTS_H

#include "kernel_args.h"

constant int FORMAT_0 [[function_constant(CONSTANT_FORMAT_0)]];
constant int FORMAT_1 [[function_constant(CONSTANT_FORMAT_1)]];
constant int FORMAT_2 [[function_constant(CONSTANT_FORMAT_2)]];
constant bool HAS_MATRIX_1 [[function_constant(CONSTANT_HAS_MATRIX_1)]];
constant bool HAS_MATRIX_2 [[function_constant(CONSTANT_HAS_MATRIX_2)]];
constant bool HAS_BIAS_0 [[function_constant(CONSTANT_HAS_BIAS_0)]];
constant bool HAS_BIAS_1 [[function_constant(CONSTANT_HAS_BIAS_1)]];
constant bool HAS_BIAS_2 [[function_constant(CONSTANT_HAS_BIAS_2)]];
constant bool HAS_NORM [[function_constant(CONSTANT_HAS_NORM)]];
constant bool HAS_RESIDUAL [[function_constant(CONSTANT_HAS_RESIDUAL)]];
constant int GATE [[function_constant(CONSTANT_GATE)]];
constant int TOKENS [[function_constant(CONSTANT_TOKENS)]];
constant bool SELECTED [[function_constant(CONSTANT_SELECTED)]];
constant bool KV_F16 [[function_constant(CONSTANT_KV_F16)]];
constant int HEAD_DIM [[function_constant(CONSTANT_HEAD_DIM)]];
constant int GROUP_HEADS [[function_constant(CONSTANT_GROUP_HEADS)]];
constant bool SPLIT [[function_constant(CONSTANT_SPLIT)]];

#endif
