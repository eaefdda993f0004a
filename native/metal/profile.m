/* Where a step's time goes: every dispatch in a command buffer of its own, with the GPU's clock read
 * around it, and captures for Xcode. Apple's GPUs read their clock at the borders of encoders only. */
#include "metal/step.h"

/* Room for two time stamps, or nil where there are none. */
static id<MTLCounterSampleBuffer> new_samples(id<MTLDevice> gpu)
{
    if (![gpu supportsCounterSampling:MTLCounterSamplingPointAtStageBoundary]) return nil;
    for (id<MTLCounterSet> set in [gpu counterSets]) {
        if (![[set name] isEqualToString:MTLCommonCounterSetTimestamp]) continue;
        MTLCounterSampleBufferDescriptor *descriptor =
            [[[MTLCounterSampleBufferDescriptor alloc] init] autorelease];
        [descriptor setCounterSet:set];
        [descriptor setSampleCount:2];
        [descriptor setStorageMode:MTLStorageModeShared];
        return [gpu newCounterSampleBufferWithDescriptor:descriptor error:NULL];
    }
    return nil;
}

static id<MTLComputeCommandEncoder> timed_encoder(id<MTLCommandBuffer> commands,
                                                  id<MTLCounterSampleBuffer> samples)
{
    if (!samples) return [commands computeCommandEncoder];
    MTLComputePassDescriptor *pass = [MTLComputePassDescriptor computePassDescriptor];
    MTLComputePassSampleBufferAttachmentDescriptor *stamps =
        [[pass sampleBufferAttachments] objectAtIndexedSubscript:0];
    [stamps setSampleBuffer:samples];
    [stamps setStartOfEncoderSampleIndex:0];
    [stamps setEndOfEncoderSampleIndex:1];
    return [commands computeCommandEncoderWithDescriptor:pass];
}

/* GPU ticks between the two stamps; 0 where the GPU left none, as on some Macs with macOS 26
 * (github.com/gfx-rs/wgpu/issues/9414). */
static double ticks(id<MTLCounterSampleBuffer> samples)
{
    NSData *data = samples ? [samples resolveCounterRange:NSMakeRange(0, 2)] : nil;
    if ([data length] < 2 * sizeof(MTLCounterResultTimestamp)) return 0.0;
    const MTLCounterResultTimestamp *stamps = [data bytes];
    uint64_t start = stamps[0].timestamp, end = stamps[1].timestamp;
    if (start == MTLCounterErrorValue || end == MTLCounterErrorValue || end < start) return 0.0;
    return (double)(end - start);
}

/* What an op took, by the stamps around its encoders and by its command buffers. */
typedef struct {
    double ticks, seconds;
} op_time;

/* One dispatch, by itself; what it takes is added to its op's. */
static int time_dispatch(metal_program *p, const metal_kv *kv, const step_counts *counts, int at,
                         id<MTLCounterSampleBuffer> samples, op_time *time, metal_error *error)
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
        time->ticks += ticks(samples);
        time->seconds += [commands GPUEndTime] - [commands GPUStartTime];
        return 0;
    }
}

/* All of the program's ops; *tick receives a tick's seconds, 0 where the GPU leaves no stamps. */
static int time_ops(metal_program *p, const metal_kv *kv, const step_counts *counts, op_time *times,
                    double *tick, metal_error *error)
{
    id<MTLDevice> gpu = p->device->gpu;
    id<MTLCounterSampleBuffer> samples = [new_samples(gpu) autorelease];
    MTLTimestamp host[2] = {0, 0}, device[2] = {0, 0};
    double all = 0.0;
    [gpu sampleTimestamps:&host[0] gpuTimestamp:&device[0]];
    for (int i = 0; i < p->n_dispatches; i++) {
        op_time *time = &times[p->dispatches[i].op]; /* the last one is of argmax and top_k */
        if (time_dispatch(p, kv, counts, i, samples, time, error)) return -1;
        all += time->ticks;
    }
    [gpu sampleTimestamps:&host[1] gpuTimestamp:&device[1]];
    /* the host's stamps are nanoseconds; the GPU's may tick otherwise */
    *tick = all > 0.0 && device[1] > device[0]
                ? 1e-9 * (double)(host[1] - host[0]) / (double)(device[1] - device[0])
                : 0.0;
    return 0;
}

int metal_profile(metal_program *p, metal_kv *kv, const step *s, double *seconds,
                  metal_error *error)
{
    @autoreleasepool {
        step_counts counts;
        double tick;
        int status = prepare_step(p, kv, s, 0, &counts, error);
        if (status != STEP_OK) return status;
        op_time *times = calloc((size_t)p->tables.n_ops + 1, sizeof *times);
        if (!times) set_error(error, @"out of memory for times");
        if (!times || time_ops(p, kv, &counts, times, &tick, error)) {
            free(times);
            return METAL_FAILED;
        }
        for (int i = 0; i < p->tables.n_ops; i++)
            seconds[i] = tick > 0.0 ? tick * times[i].ticks : times[i].seconds;
        free(times);
        return STEP_OK;
    }
}

int metal_capture_begin(metal_device *device, const char *path, metal_error *error)
{
    @autoreleasepool {
        MTLCaptureManager *manager = [MTLCaptureManager sharedCaptureManager];
        NSString *file = [NSString stringWithUTF8String:path];
        if (![manager supportsDestination:MTLCaptureDestinationGPUTraceDocument]) {
            set_error(error, @"captures are off: set MTL_CAPTURE_ENABLED=1 as well");
            return -1;
        }
        MTLCaptureDescriptor *descriptor = [[[MTLCaptureDescriptor alloc] init] autorelease];
        [descriptor setCaptureObject:device->queue];
        [descriptor setDestination:MTLCaptureDestinationGPUTraceDocument];
        [descriptor setOutputURL:[NSURL fileURLWithPath:file]];
        NSError *reason = nil;
        if ([manager startCaptureWithDescriptor:descriptor error:&reason]) return 0;
        set_error(error, @"%@ cannot be written: %@", file, [reason localizedDescription]);
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
