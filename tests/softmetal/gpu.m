/* The GPU itself: what it is and can do, and what it makes. */
#include "objects.h"

static SoftDevice *the_device; /* not retained; Metal's device is one object, too */
static pthread_mutex_t the_lock = PTHREAD_MUTEX_INITIALIZER;

id<MTLDevice> MTLCreateSystemDefaultDevice(void)
{
    if (!soft_set.present) return nil;
    pthread_mutex_lock(&the_lock);
    if (the_device)
        [the_device retain];
    else
        the_device = [[SoftDevice alloc] init];
    SoftDevice *device = the_device;
    pthread_mutex_unlock(&the_lock);
    return device;
}

@implementation SoftDevice

- (id)init
{
    if (!(self = [super init])) return nil;
    soft_count(self, 1);
    return self;
}

- (oneway void)release
{
    pthread_mutex_lock(&the_lock); /* so that nobody is given a device that is going */
    if ([self retainCount] == 1) the_device = nil;
    pthread_mutex_unlock(&the_lock);
    [super release];
}

- (void)dealloc
{
    [timestamps release];
    soft_count(self, -1);
    [super dealloc];
}

- (NSString *)name { return @"Software Metal"; }
- (uint64_t)registryID { return 1; }
- (MTLSize)maxThreadsPerThreadgroup { return MTLSizeMake(1024, 1024, 1024); }
- (BOOL)isLowPower { return NO; }
- (BOOL)isHeadless { return NO; }
- (BOOL)isRemovable { return NO; }
- (BOOL)hasUnifiedMemory { return YES; }
- (uint64_t)recommendedMaxWorkingSetSize { return soft_set.working_set; }
- (NSUInteger)currentAllocatedSize { return allocated; }
- (NSUInteger)maxThreadgroupMemoryLength { return MOST_THREADGROUP_BYTES; }
- (NSUInteger)maxBufferLength { return soft_set.buffer_length; }

- (BOOL)supportsFamily:(MTLGPUFamily)family
{
    if (family == MTLGPUFamilyMetal3) return soft_set.metal3 && soft_set.apple_family >= 7;
    if (family >= MTLGPUFamilyCommon1 && family <= MTLGPUFamilyCommon3) return YES;
    if (family == MTLGPUFamilyMac2) return soft_set.apple_family == 0 || soft_set.apple_family >= 7;
    return family >= MTLGPUFamilyApple1 && family - MTLGPUFamilyApple1 < soft_set.apple_family;
}

- (id<MTLCommandQueue>)newCommandQueue { return [self newCommandQueueWithMaxCommandBufferCount:64]; }

- (id<MTLCommandQueue>)newCommandQueueWithMaxCommandBufferCount:(NSUInteger)count
{
    if (!count) {
        soft_fault(@"newCommandQueueWithMaxCommandBufferCount: none");
        return nil;
    }
    return [[SoftQueue alloc] initWithDevice:self most:count];
}

- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options
{
    return soft_new_buffer(self, length, options, NULL);
}

- (id<MTLBuffer>)newBufferWithBytes:(const void *)pointer
                             length:(NSUInteger)length
                            options:(MTLResourceOptions)options
{
    if (pointer && (options & MTLResourceStorageModeMask) != MTLResourceStorageModePrivate)
        return soft_new_buffer(self, length, options, pointer);
    soft_fault(pointer ? @"newBufferWithBytes: the storage mode cannot be private"
                       : @"newBufferWithBytes: no bytes");
    return nil;
}

- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void *)pointer
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(void (^)(void *, NSUInteger))deallocator
{
    return soft_wrap_buffer(self, pointer, length, options, deallocator);
}

- (id<MTLLibrary>)newLibraryWithURL:(NSURL *)url error:(NSError **)error
{
    return soft_library_of_file(self, url, error);
}

- (id<MTLLibrary>)newLibraryWithSource:(NSString *)source
                               options:(MTLCompileOptions *)options
                                 error:(NSError **)error
{
    return soft_library_of_source(self, source, options, error);
}

- (id<MTLComputePipelineState>)newComputePipelineStateWithFunction:(id<MTLFunction>)function
                                                             error:(NSError **)error
{
    return soft_new_pipeline(self, function, nil, error);
}

- (id<MTLComputePipelineState>)
    newComputePipelineStateWithDescriptor:(MTLComputePipelineDescriptor *)descriptor
                                  options:(MTLPipelineOption)options
                               reflection:(MTLAutoreleasedComputePipelineReflection *)reflection
                                    error:(NSError **)error
{
    if (options || reflection)
        soft_fault(@"newComputePipelineStateWithDescriptor: this device makes no reflection");
    return soft_new_pipeline(self, [descriptor computeFunction], descriptor, error);
}

- (id<MTLResidencySet>)newResidencySetWithDescriptor:(MTLResidencySetDescriptor *)descriptor
                                               error:(NSError **)error
{
    if (soft_set.residency_sets && !soft_is_planned(&soft_set.fail_residency_set)) {
        SoftResidency *set = [[SoftResidency alloc] initWithDevice:self];
        [set setLabel:[descriptor label]];
        return set;
    }
    if (error) *error = soft_error(@"MTLResidencySet", 1, @"this system has no residency sets");
    return nil;
}

- (NSArray *)counterSets
{
    if (!timestamps) timestamps = soft_timestamps();
    return [NSArray arrayWithObject:timestamps];
}

- (id<MTLCounterSampleBuffer>)newCounterSampleBufferWithDescriptor:
                                  (MTLCounterSampleBufferDescriptor *)descriptor
                                                             error:(NSError **)error
{
    return soft_new_counters(self, descriptor, error);
}

- (BOOL)supportsCounterSampling:(MTLCounterSamplingPoint)point
{
    return point == MTLCounterSamplingPointAtStageBoundary ||
           (point == MTLCounterSamplingPointAtDispatchBoundary && soft_set.samples_dispatches);
}

- (void)sampleTimestamps:(MTLTimestamp *)cpu gpuTimestamp:(MTLTimestamp *)gpu
{
    *cpu = soft_nanoseconds();
    *gpu = soft_ticks();
}

@end
