/* What the GPU does with what was encoded: order, residency, copies, clocks, captures. */
#include "cases.h"

#include "executor.h"

static void link_of_chain(id<MTLComputeCommandEncoder> encoder, const char *kernel)
{
    [encoder setComputePipelineState:pipeline(kernel)];
    dispatch(encoder, 1, 32);
}

/* y = ((y * 2) + 1) * 2 + 1 ..., four links; with seeds from 1 on, in each of `tries` command buffers. */
static void chain(MTLDispatchType type, int barriers, int tries)
{
    for (int i = 0; i < tries; i++) {
        id<MTLBuffer> y = floats(32, 1.0f);
        id<MTLCommandBuffer> commands = [queue commandBuffer];
        id<MTLComputeCommandEncoder> encoder = [commands computeCommandEncoderWithDispatchType:type];
        softmetal_set_seed((uint64_t)i + 1);
        [encoder setBuffer:y offset:0 atIndex:0];
        for (int j = 0; j < 4; j++) {
            link_of_chain(encoder, j % 2 ? "plus_one" : "twice");
            if (barriers && j < 3) [encoder memoryBarrierWithScope:MTLBarrierScopeBuffers];
        }
        [encoder endEncoding];
        [commands commit];
        [commands waitUntilCompleted];
        say("result", [commands error] ? -1.0 : at(y, 0));
    }
}

CASE(order_with_barriers) { chain(MTLDispatchTypeConcurrent, 1, 8); }
CASE(order_without_barriers) { chain(MTLDispatchTypeConcurrent, 0, 8); }
CASE(order_when_serial) { chain(MTLDispatchTypeSerial, 0, 8); }

CASE(race_without_barriers)
{
    check_accesses();
    chain(MTLDispatchTypeConcurrent, 0, 1);
}
CASE(no_race_with_barriers)
{
    check_accesses();
    chain(MTLDispatchTypeConcurrent, 1, 1);
}

CASE(barrier_of_resources)
{
    id<MTLBuffer> y = floats(32, 1.0f);
    id<MTLResource> resources[] = {y};
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setBuffer:y offset:0 atIndex:0];
    for (int j = 0; j < 4; j++) {
        link_of_chain(encoder, j % 2 ? "plus_one" : "twice");
        [encoder memoryBarrierWithResources:resources count:1];
    }
    finish(commands, encoder);
    say("result", at(y, 0));
}

CASE(out_of_bounds)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:pipeline("beyond")];
    [encoder setBuffer:floats(32, 0.0f) offset:0 atIndex:0];
    dispatch(encoder, 1, 32);
    finish(commands, encoder);
    finish([queue commandBuffer], nil); /* the queue goes on */
}

/* Reads a page through its address in a table. `prepare` may make it resident. */
static void through_address(void (^prepare)(id<MTLComputeCommandEncoder>, id<MTLBuffer>))
{
    check_accesses();
    id<MTLBuffer> page = floats(32, 7.0f), y = floats(32, 0.0f);
    id<MTLBuffer> table = [[device newBufferWithLength:8 options:0] autorelease];
    *(uint64_t *)[table contents] = [page gpuAddress];
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:pipeline("through_address")];
    [encoder setBuffer:table offset:0 atIndex:0];
    [encoder setBuffer:y offset:0 atIndex:1];
    prepare(encoder, page);
    dispatch(encoder, 1, 32);
    finish(commands, encoder);
    say("result", at(y, 31));
}

CASE(not_resident)
{
    through_address(^(id<MTLComputeCommandEncoder> encoder, id<MTLBuffer> page) {
      (void)encoder;
      (void)page;
    });
}

CASE(resident_by_use)
{
    through_address(^(id<MTLComputeCommandEncoder> encoder, id<MTLBuffer> page) {
      id<MTLResource> one[] = {page};
      [encoder useResources:one count:1 usage:MTLResourceUsageRead];
    });
}

static id<MTLResidencySet> new_set(void)
{
    NSError *error = nil;
    MTLResidencySetDescriptor *descriptor = [[[MTLResidencySetDescriptor alloc] init] autorelease];
    [descriptor setLabel:@"pages"];
    id<MTLResidencySet> set = [device newResidencySetWithDescriptor:descriptor error:&error];
    if (!set) say_error("set", error);
    return [set autorelease];
}

CASE(resident_by_set)
{
    through_address(^(id<MTLComputeCommandEncoder> encoder, id<MTLBuffer> page) {
      (void)encoder;
      id<MTLResidencySet> set = new_set();
      [set addAllocation:page];
      [set commit];
      [set requestResidency];
      [queue addResidencySet:set];
      say("count", (double)[set allocationCount]);
      say("size", (double)[set allocatedSize]);
    });
}

CASE(set_not_committed)
{
    through_address(^(id<MTLComputeCommandEncoder> encoder, id<MTLBuffer> page) {
      (void)encoder;
      id<MTLResidencySet> set = new_set();
      [set addAllocation:page];
      [queue addResidencySet:set];
    });
}

CASE(removed_from_set)
{
    through_address(^(id<MTLComputeCommandEncoder> encoder, id<MTLBuffer> page) {
      (void)encoder;
      id<MTLResidencySet> set = new_set();
      [set addAllocation:page];
      [set commit];
      [queue addResidencySet:set];
      [set removeAllocation:page];
      [set commit];
    });
}

CASE(no_residency_sets)
{
    softmetal_set_residency_sets(0);
    new_set();
}

CASE(blits)
{
    id<MTLBuffer> from = floats(32, 5.0f), to = floats(32, 1.0f);
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLBlitCommandEncoder> blit = [commands blitCommandEncoder];
    [blit fillBuffer:from range:NSMakeRange(0, 8) value:0];
    [blit copyFromBuffer:from sourceOffset:4 toBuffer:to destinationOffset:8 size:8];
    [blit endEncoding];
    finish(commands, nil);
    for (int i = 1; i < 5; i++) say("value", at(to, i)); /* 1, 0, 5, 1 */
}

static void try_blit(void (^encode)(id<MTLBlitCommandEncoder>, id<MTLBuffer>))
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLBlitCommandEncoder> blit = [commands blitCommandEncoder];
    encode(blit, floats(32, 0.0f));
    [blit endEncoding];
    finish(commands, nil);
}

#define BLIT_CASE(name, ...)                                                                       \
    CASE(name)                                                                                     \
    {                                                                                              \
        try_blit(^(id<MTLBlitCommandEncoder> blit, id<MTLBuffer> y) { __VA_ARGS__; });             \
    }

BLIT_CASE(copy_beyond,
          [blit copyFromBuffer:y sourceOffset:64 toBuffer:floats(32, 0.0f) destinationOffset:0 size:68])
BLIT_CASE(copy_odd,
          [blit copyFromBuffer:y sourceOffset:1 toBuffer:floats(32, 0.0f) destinationOffset:0 size:8])
BLIT_CASE(copy_overlapping,
          [blit copyFromBuffer:y sourceOffset:0 toBuffer:y destinationOffset:4 size:8])
BLIT_CASE(fill_beyond, [blit fillBuffer:y range:NSMakeRange(124, 8) value:1])

static id<MTLCounterSampleBuffer> new_samples(NSUInteger count)
{
    NSError *error = nil;
    MTLCounterSampleBufferDescriptor *descriptor =
        [[[MTLCounterSampleBufferDescriptor alloc] init] autorelease];
    for (id<MTLCounterSet> set in [device counterSets])
        if ([[set name] isEqualToString:MTLCommonCounterSetTimestamp]) [descriptor setCounterSet:set];
    [descriptor setSampleCount:count];
    [descriptor setStorageMode:MTLStorageModeShared];
    id<MTLCounterSampleBuffer> samples = [device newCounterSampleBufferWithDescriptor:descriptor
                                                                                error:&error];
    if (!samples) say_error("samples", error);
    return [samples autorelease];
}

/* An encoder whose borders are stamped at 0 and `last` of three samples. */
static void stamped(NSUInteger last)
{
    id<MTLCounterSampleBuffer> samples = new_samples(3);
    MTLComputePassDescriptor *pass = [MTLComputePassDescriptor computePassDescriptor];
    MTLComputePassSampleBufferAttachmentDescriptor *stamps =
        [[pass sampleBufferAttachments] objectAtIndexedSubscript:0];
    [stamps setSampleBuffer:samples];
    [stamps setStartOfEncoderSampleIndex:0];
    [stamps setEndOfEncoderSampleIndex:last];
    MTLTimestamp host[2], gpu[2];
    [device sampleTimestamps:&host[0] gpuTimestamp:&gpu[0]];
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = [commands computeCommandEncoderWithDescriptor:pass];
    [encoder setBuffer:floats(32, 1.0f) offset:0 atIndex:0];
    link_of_chain(encoder, "twice");
    finish(commands, encoder);
    [device sampleTimestamps:&host[1] gpuTimestamp:&gpu[1]];
    const MTLCounterResultTimestamp *t = [[samples resolveCounterRange:NSMakeRange(0, 3)] bytes];
    say("in_order", gpu[0] <= t[0].timestamp && t[0].timestamp <= t[1].timestamp &&
                        t[1].timestamp <= gpu[1]);
    say("untouched", t[2].timestamp == MTLCounterErrorValue);
    say("clocks_differ", host[1] - host[0] > gpu[1] - gpu[0]);
}

CASE(stamps) { stamped(1); }
CASE(stamp_beyond) { stamped(3); }
CASE(no_samples) { new_samples(0); }
CASE(resolve_beyond) { [new_samples(2) resolveCounterRange:NSMakeRange(1, 2)]; }

static void stamp_in_encoder(void)
{
    id<MTLCounterSampleBuffer> samples = new_samples(2);
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setBuffer:floats(32, 1.0f) offset:0 atIndex:0];
    for (NSUInteger i = 0; i < 2; i++) {
        [encoder sampleCountersInBuffer:samples atSampleIndex:i withBarrier:YES];
        link_of_chain(encoder, "twice");
    }
    finish(commands, encoder);
    const MTLCounterResultTimestamp *t = [[samples resolveCounterRange:NSMakeRange(0, 2)] bytes];
    say("stamped", t[0].timestamp != MTLCounterErrorValue && t[0].timestamp <= t[1].timestamp);
}

CASE(stamps_at_dispatches)
{
    softmetal_set_sampling(1);
    say("supported", [device supportsCounterSampling:MTLCounterSamplingPointAtDispatchBoundary]);
    stamp_in_encoder();
}

CASE(stamps_at_dispatches_unsupported)
{
    say("supported", [device supportsCounterSampling:MTLCounterSamplingPointAtDispatchBoundary]);
    say("at_stages", [device supportsCounterSampling:MTLCounterSamplingPointAtStageBoundary]);
    stamp_in_encoder();
}

static NSError *start_capture(NSString *path)
{
    NSError *error = nil;
    MTLCaptureDescriptor *descriptor = [[[MTLCaptureDescriptor alloc] init] autorelease];
    [descriptor setCaptureObject:queue];
    [descriptor setDestination:MTLCaptureDestinationGPUTraceDocument];
    [descriptor setOutputURL:[NSURL fileURLWithPath:path]];
    BOOL started = [[MTLCaptureManager sharedCaptureManager] startCaptureWithDescriptor:descriptor
                                                                                  error:&error];
    return started ? nil : error;
}

CASE(capture)
{
    NSString *path = [NSString stringWithUTF8String:getenv("CAPTURE_PATH")];
    say_text("before", "the capture"); /* not in the file */
    finish([queue commandBuffer], nil);
    say("started", start_capture(path) == nil);
    say("capturing", [[MTLCaptureManager sharedCaptureManager] isCapturing]);
    say_error("again", start_capture([path stringByAppendingString:@"2"]));
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setBuffer:floats(32, 1.0f) offset:0 atIndex:0];
    link_of_chain(encoder, "twice");
    finish(commands, encoder);
    [[MTLCaptureManager sharedCaptureManager] stopCapture];
    say_error("exists", start_capture(path));
}

CASE(capture_off)
{
    softmetal_set_capture(0);
    say_error("refused", start_capture(@"/nowhere"));
}

CASE(capture_not_started) { [[MTLCaptureManager sharedCaptureManager] stopCapture]; }
