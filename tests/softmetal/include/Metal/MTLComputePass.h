/* An encoder with time stamps at its borders. */
#ifndef SOFTMETAL_MTLCOMPUTEPASS_H
#define SOFTMETAL_MTLCOMPUTEPASS_H

#import <Metal/MTLCommandBuffer.h>
#import <Metal/MTLCounters.h>

NS_ASSUME_NONNULL_BEGIN

MTL_EXPORT
@interface MTLComputePassSampleBufferAttachmentDescriptor : NSObject <NSCopying> {
    id<MTLCounterSampleBuffer> _sampleBuffer;
    NSUInteger _start, _end;
}
@property (nullable, nonatomic, retain) id<MTLCounterSampleBuffer> sampleBuffer;
@property (nonatomic) NSUInteger startOfEncoderSampleIndex;
@property (nonatomic) NSUInteger endOfEncoderSampleIndex;
@end

MTL_EXPORT
@interface MTLComputePassSampleBufferAttachmentDescriptorArray : NSObject {
    NSMutableDictionary *_attachments;
}
- (MTLComputePassSampleBufferAttachmentDescriptor *)objectAtIndexedSubscript:
    (NSUInteger)attachmentIndex;
- (void)setObject:(nullable MTLComputePassSampleBufferAttachmentDescriptor *)attachment
    atIndexedSubscript:(NSUInteger)attachmentIndex;
@end

MTL_EXPORT
@interface MTLComputePassDescriptor : NSObject <NSCopying> {
    MTLDispatchType _dispatchType;
    MTLComputePassSampleBufferAttachmentDescriptorArray *_attachments;
}
@property (nonatomic) MTLDispatchType dispatchType;
@property (readonly)
    MTLComputePassSampleBufferAttachmentDescriptorArray *sampleBufferAttachments;
+ (MTLComputePassDescriptor *)computePassDescriptor;
@end

NS_ASSUME_NONNULL_END

#endif
