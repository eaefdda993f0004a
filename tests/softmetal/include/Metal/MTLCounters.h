/* The GPU's clock, sampled into buffers. */
#ifndef SOFTMETAL_MTLCOUNTERS_H
#define SOFTMETAL_MTLCOUNTERS_H

#import <Metal/MTLResource.h>

NS_ASSUME_NONNULL_BEGIN

#define MTLCounterErrorValue ((uint64_t)~0ULL) /* where no sample was taken */
#define MTLCounterDontSample ((NSUInteger)-1)

typedef NSString *const MTLCommonCounter;
typedef NSString *const MTLCommonCounterSet;
MTL_EXTERN MTLCommonCounter MTLCommonCounterTimestamp;
MTL_EXTERN MTLCommonCounterSet MTLCommonCounterSetTimestamp;

typedef uint64_t MTLTimestamp;
typedef struct {
    uint64_t timestamp; /* in ticks of the GPU: see sampleTimestamps:gpuTimestamp: */
} MTLCounterResultTimestamp;

typedef NS_ENUM(NSUInteger, MTLCounterSamplingPoint) {
    MTLCounterSamplingPointAtStageBoundary,
    MTLCounterSamplingPointAtDrawBoundary,
    MTLCounterSamplingPointAtDispatchBoundary,
    MTLCounterSamplingPointAtTileDispatchBoundary,
    MTLCounterSamplingPointAtBlitBoundary,
};

typedef NS_ENUM(NSInteger, MTLCounterSampleBufferError) {
    MTLCounterSampleBufferErrorOutOfMemory,
    MTLCounterSampleBufferErrorInvalid,
    MTLCounterSampleBufferErrorInternal,
};
MTL_EXTERN NSErrorDomain const MTLCounterErrorDomain;

@protocol MTLCounter <NSObject>
@property (readonly, copy) NSString *name;
@end

@protocol MTLCounterSet <NSObject>
@property (readonly, copy) NSString *name;
@property (readonly, copy) NSArray<id<MTLCounter>> *counters;
@end

MTL_EXPORT
@interface MTLCounterSampleBufferDescriptor : NSObject <NSCopying> {
    id<MTLCounterSet> _counterSet;
    NSString *_label;
    MTLStorageMode _storageMode;
    NSUInteger _sampleCount;
}
@property (nullable, readwrite, retain) id<MTLCounterSet> counterSet;
@property (readwrite, copy) NSString *label;
@property (readwrite) MTLStorageMode storageMode;
@property (readwrite) NSUInteger sampleCount;
@end

@protocol MTLCounterSampleBuffer <NSObject>
@property (readonly) id<MTLDevice> device;
@property (readonly) NSString *label;
@property (readonly) NSUInteger sampleCount;
- (nullable NSData *)resolveCounterRange:(NSRange)range;
@end

NS_ASSUME_NONNULL_END

#endif
