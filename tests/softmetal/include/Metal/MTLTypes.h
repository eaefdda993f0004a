/* Sizes of grids and threadgroups. */
#ifndef SOFTMETAL_MTLTYPES_H
#define SOFTMETAL_MTLTYPES_H

#import <Metal/MTLDefines.h>

typedef struct {
    NSUInteger width, height, depth;
} MTLSize;

MTL_INLINE MTLSize MTLSizeMake(NSUInteger width, NSUInteger height, NSUInteger depth)
{
    return (MTLSize){width, height, depth};
}

#endif
