/* Metal as the software device offers it: the part of Apple's API that computes.
 *
 * Names, types and values are those of Apple's SDK (checked against the headers of macOS 14 and 15),
 * so that sources compile unchanged on both sides; what is not declared here is not offered.
 */
#ifndef SOFTMETAL_METAL_H
#define SOFTMETAL_METAL_H

#import <Metal/MTLDefines.h>
#import <Metal/MTLTypes.h>
#import <Metal/MTLResource.h>
#import <Metal/MTLBuffer.h>
#import <Metal/MTLLibrary.h>
#import <Metal/MTLComputePipeline.h>
#import <Metal/MTLCounters.h>
#import <Metal/MTLResidencySet.h>
#import <Metal/MTLCommandEncoder.h>
#import <Metal/MTLBlitCommandEncoder.h>
#import <Metal/MTLComputePass.h>
#import <Metal/MTLComputeCommandEncoder.h>
#import <Metal/MTLCommandBuffer.h>
#import <Metal/MTLCommandQueue.h>
#import <Metal/MTLDevice.h>
#import <Metal/MTLCaptureManager.h>

#endif
