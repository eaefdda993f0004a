/* macOS 15: allocations that stay resident without being named in every encoder. */
#ifndef SOFTMETAL_MTLRESIDENCYSET_H
#define SOFTMETAL_MTLRESIDENCYSET_H

#import <Metal/MTLResource.h>

NS_ASSUME_NONNULL_BEGIN

MTL_EXPORT
@interface MTLResidencySetDescriptor : NSObject <NSCopying> {
    NSString *_label;
    NSUInteger _initialCapacity;
}
@property (nullable, copy, nonatomic) NSString *label;
@property (nonatomic) NSUInteger initialCapacity;
@end

/* Additions and removals take effect at the next commit. */
@protocol MTLResidencySet <NSObject>
@property (readonly) id<MTLDevice> device;
@property (readonly, nullable) NSString *label;
@property (readonly) uint64_t allocatedSize;
@property (readonly, copy) NSArray<id<MTLAllocation>> *allAllocations;
@property (readonly) NSUInteger allocationCount;
- (void)requestResidency;
- (void)endResidency;
- (void)addAllocation:(id<MTLAllocation>)allocation;
- (void)addAllocations:(const id<MTLAllocation> _Nonnull[_Nonnull])allocations
                 count:(NSUInteger)count;
- (void)removeAllocation:(id<MTLAllocation>)allocation;
- (void)removeAllocations:(const id<MTLAllocation> _Nonnull[_Nonnull])allocations
                    count:(NSUInteger)count;
- (void)removeAllAllocations;
- (BOOL)containsAllocation:(id<MTLAllocation>)anAllocation;
- (void)commit;
@end

NS_ASSUME_NONNULL_END

#endif
