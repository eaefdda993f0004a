/* Buffers. */
#ifndef SOFTMETAL_MTLBUFFER_H
#define SOFTMETAL_MTLBUFFER_H

#import <Metal/MTLResource.h>

NS_ASSUME_NONNULL_BEGIN

@protocol MTLBuffer <MTLResource>
@property (readonly) NSUInteger length;
@property (readonly) uint64_t gpuAddress;
- (void *)contents; /* NULL where the storage is private */
@end

NS_ASSUME_NONNULL_END

#endif
