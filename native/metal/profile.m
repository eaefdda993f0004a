/* Where a step's time goes: every op in an encoder of its own, with the GPU's clock read around it,
 * and captures for Xcode. Apple's GPUs read their clock at the borders of encoders only. */
#include "metal/step.h"

static id<MTLCounterSampleBuffer> new_samples(id<MTLDevice> gpu, int n, metal_error *error)
{
    for (id<MTLCounterSet> set in [gpu counterSets]) {
        if (![[set name] isEqualToString:MTLCommonCounterSetTimestamp]) continue;
        MTLCounterSampleBufferDescriptor *descriptor =
            [[[MTLCounterSampleBufferDescriptor alloc] init] autorelease];
        [descriptor setCounterSet:set];
        [descriptor setSampleCount:(NSUInteger)n];
        [descriptor setStorageMode:MTLStorageModeShared];
        NSError *reason = nil;
        id<MTLCounterSampleBuffer> samples =
            [gpu newCounterSampleBufferWithDescriptor:descriptor error:&reason];
        if (!samples)
            set_error(error, @"%@ gives no time stamps: %@", [gpu name],
                      [reason localizedDescription]);
        return samples;
    }
    set_error(error, @"%@ has no time stamps", [gpu name]);
    return nil;
}

static id<MTLComputeCommandEncoder> timed_encoder(id<MTLCommandBuffer> commands,
                                                  id<MTLCounterSampleBuffer> samples)
{
    MTLComputePassDescriptor *pass = [MTLComputePassDescriptor computePassDescriptor];
    MTLComputePassSampleBufferAttachmentDescriptor *stamps =
        [[pass sampleBufferAttachments] objectAtIndexedSubscript:0];
    [stamps setSampleBuffer:samples];
    [stamps setStartOfEncoderSampleIndex:0];
    [stamps setEndOfEncoderSampleIndex:1];
    return [commands computeCommandEncoderWithDescriptor:pass];
}

/* GPU ticks between the two stamps; -1 where the GPU left none. */
static double ticks(id<MTLCounterSampleBuffer> samples)
{
    NSData *data = [samples resolveCounterRange:NSMakeRange(0, 2)];
    if ([data length] < 2 * sizeof(MTLCounterResultTimestamp)) return -1.0;
    const MTLCounterResultTimestamp *stamps = [data bytes];
    if (stamps[0].timestamp == MTLCounterErrorValue || stamps[1].timestamp == MTLCounterErrorValue)
        return -1.0;
    return (double)(stamps[1].timestamp - stamps[0].timestamp);
}

/* One dispatch, by itself; its ticks are added to its op's. */
static int time_dispatch(metal_program *p, const metal_kv *kv, const step_counts *counts, int at,
                         id<MTLCounterSampleBuffer> samples, double *spent, metal_error *error)
{
    @autoreleasepool {
        id<MTLCommandBuffer> commands = [p->device->queue commandBuffer];
        id<MTLComputeCommandEncoder> encoder = timed_encoder(commands, samples);
        int failed = encode_step(p, kv, counts, encoder, at, error);
        [encoder endEncoding];
        if (failed || !p->statistics.dispatches) return failed;
        [commands commit];
        [commands waitUntilCompleted];
        if ([commands status] == MTLCommandBufferStatusError) {
            set_error(error, @"%@ failed at %s: %@", [p->device->gpu name],
                      kernel_name((enum kernel)p->dispatches[at].kernel),
                      [[commands error] localizedDescription]);
            return -1;
        }
        *spent += ticks(samples);
        return 0;
    }
}

int metal_profile(metal_program *p, metal_kv *kv, const step *s, double *seconds,
                  metal_error *error)
{
    @autoreleasepool {
        id<MTLDevice> gpu = p->device->gpu;
        step_counts counts;
        if (![gpu supportsCounterSampling:MTLCounterSamplingPointAtStageBoundary]) {
            set_error(error, @"%@ cannot time single ops", [gpu name]);
            return METAL_FAILED;
        }
        int status = prepare_step(p, kv, s, 0, &counts, error);
        if (status != STEP_OK) return status;
        id<MTLCounterSampleBuffer> samples = [new_samples(gpu, 2, error) autorelease];
        if (!samples) return METAL_FAILED;
        MTLTimestamp host[2], device[2];
        [gpu sampleTimestamps:&host[0] gpuTimestamp:&device[0]];
        for (int i = 0; i < p->tables.n_ops; i++) seconds[i] = 0.0;
        for (int i = 0; i < p->n_dispatches; i++) {
            if (p->dispatches[i].op == p->tables.n_ops) continue;
            if (time_dispatch(p, kv, &counts, i, samples, &seconds[p->dispatches[i].op], error))
                return METAL_FAILED;
        }
        [gpu sampleTimestamps:&host[1] gpuTimestamp:&device[1]];
        /* the host's stamps are nanoseconds; the GPU's may tick otherwise */
        double tick = device[1] > device[0]
                          ? 1e-9 * (double)(host[1] - host[0]) / (double)(device[1] - device[0])
                          : 1e-9;
        for (int i = 0; i < p->tables.n_ops; i++) seconds[i] *= tick;
        return STEP_OK;
    }
}

int metal_capture_begin(metal_device *device, const char *path, metal_error *error)
{
    @autoreleasepool {
        MTLCaptureManager *manager = [MTLCaptureManager sharedCaptureManager];
        if (![manager supportsDestination:MTLCaptureDestinationGPUTraceDocument]) {
            set_error(error, @"captures are off: set METAL_CAPTURE_ENABLED=1 as well");
            return -1;
        }
        MTLCaptureDescriptor *descriptor = [[[MTLCaptureDescriptor alloc] init] autorelease];
        [descriptor setCaptureObject:device->queue];
        [descriptor setDestination:MTLCaptureDestinationGPUTraceDocument];
        [descriptor setOutputURL:[NSURL fileURLWithPath:[NSString stringWithUTF8String:path]]];
        NSError *reason = nil;
        if ([manager startCaptureWithDescriptor:descriptor error:&reason]) return 0;
        set_error(error, @"%s cannot be written: %@", path, [reason localizedDescription]);
        return -1;
    }
}

void metal_capture_end(metal_device *device)
{
    (void)device;
    @autoreleasepool {
        [[MTLCaptureManager sharedCaptureManager] stopCapture];
    }
}
