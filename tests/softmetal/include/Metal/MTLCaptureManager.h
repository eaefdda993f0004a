/* Traces of what the GPU did. */
#ifndef SOFTMETAL_MTLCAPTUREMANAGER_H
#define SOFTMETAL_MTLCAPTUREMANAGER_H

#import <Metal/MTLDefines.h>

NS_ASSUME_NONNULL_BEGIN

MTL_EXTERN NSErrorDomain const MTLCaptureErrorDomain;

typedef NS_ENUM(NSInteger, MTLCaptureError) {
    MTLCaptureErrorNotSupported = 1,
    MTLCaptureErrorAlreadyCapturing,
    MTLCaptureErrorInvalidDescriptor,
};

typedef NS_ENUM(NSInteger, MTLCaptureDestination) {
    MTLCaptureDestinationDeveloperTools = 1,
    MTLCaptureDestinationGPUTraceDocument,
};

MTL_EXPORT
@interface MTLCaptureDescriptor : NSObject <NSCopying> {
    id _captureObject;
    MTLCaptureDestination _destination;
    NSURL *_outputURL;
}
@property (nonatomic, strong, nullable) id captureObject; /* a device or a queue */
@property (nonatomic, assign) MTLCaptureDestination destination;
@property (nonatomic, copy, nullable) NSURL *outputURL;
@end

MTL_EXPORT
@interface MTLCaptureManager : NSObject {
    NSURL *_outputURL;
}
@property (readonly) BOOL isCapturing;
+ (MTLCaptureManager *)sharedCaptureManager;
- (BOOL)supportsDestination:(MTLCaptureDestination)destination;
- (BOOL)startCaptureWithDescriptor:(MTLCaptureDescriptor *)descriptor
                             error:(NSError *_Nullable *_Nullable)error;
- (void)stopCapture;
@end

NS_ASSUME_NONNULL_END

#endif
