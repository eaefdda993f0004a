/* The GPU's clock: 24 MHz, so that a host that takes ticks for nanoseconds is caught. */
#include <time.h>

#include "objects.h"

NSErrorDomain const MTLCounterErrorDomain = @"MTLCounterErrorDomain";
MTLCommonCounter MTLCommonCounterTimestamp = @"GPUTimestamp";
MTLCommonCounterSet MTLCommonCounterSetTimestamp = @"timestamp";

uint64_t soft_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t soft_ticks(void) { return soft_nanoseconds() * 3 / 125; }

/* The counter, and the set that has it alone. */
@interface SoftTimestamp : NSObject <MTLCounter>
@end

@implementation SoftTimestamp
- (NSString *)name { return MTLCommonCounterTimestamp; }
@end

@interface SoftTimestamps : NSObject <MTLCounterSet>
@end

@implementation SoftTimestamps
- (NSString *)name { return MTLCommonCounterSetTimestamp; }
- (NSArray *)counters
{
    return [NSArray arrayWithObject:[[[SoftTimestamp alloc] init] autorelease]];
}
@end

id<MTLCounterSet> soft_timestamps(void) { return [[SoftTimestamps alloc] init]; }

SoftCounters *soft_new_counters(SoftDevice *device, MTLCounterSampleBufferDescriptor *descriptor,
                                NSError **error)
{
    NSUInteger count = [descriptor sampleCount];
    MTLStorageMode storage = [descriptor storageMode];
    if (![descriptor counterSet] || !count || count > 4096 ||
        (storage != MTLStorageModeShared && storage != MTLStorageModePrivate)) {
        if (error)
            *error = soft_error(MTLCounterErrorDomain, MTLCounterSampleBufferErrorInvalid,
                                @"a buffer of %zu samples (1 to 4096) of %@ in storage mode %d",
                                (size_t)count, [descriptor counterSet], (int)storage);
        return nil;
    }
    SoftCounters *counters = [[SoftCounters alloc] initWithDevice:device];
    [counters setLabel:[descriptor label]];
    counters->count = count;
    counters->storage = storage;
    counters->stamps = malloc(count * sizeof *counters->stamps);
    if (!counters->stamps) abort();
    for (NSUInteger i = 0; i < count; i++) counters->stamps[i] = MTLCounterErrorValue;
    return counters;
}

@implementation SoftCounters
@dynamic label, device; /* SoftObject has them */

- (void)dealloc
{
    free(stamps);
    [super dealloc];
}

- (NSUInteger)sampleCount { return count; }

- (NSData *)resolveCounterRange:(NSRange)range
{
    if (storage != MTLStorageModeShared || range.location > count ||
        range.length > count - range.location) {
        soft_fault(@"resolveCounterRange: samples %zu to %zu of %zu, in storage mode %d",
                   (size_t)range.location, (size_t)NSMaxRange(range), (size_t)count, (int)storage);
        return nil;
    }
    return [NSData dataWithBytes:stamps + range.location length:range.length * sizeof *stamps];
}

@end

@implementation MTLCounterSampleBufferDescriptor
@synthesize counterSet = _counterSet, label = _label, storageMode = _storageMode;
@synthesize sampleCount = _sampleCount;

- (id)init
{
    if (!(self = [super init])) return nil;
    _label = @"";
    soft_count(self, 1);
    return self;
}

- (void)dealloc
{
    [_label release];
    [_counterSet release];
    soft_count(self, -1);
    [super dealloc];
}

- (id)copyWithZone:(NSZone *)zone
{
    MTLCounterSampleBufferDescriptor *copy =
        [[MTLCounterSampleBufferDescriptor allocWithZone:zone] init];
    [copy setCounterSet:_counterSet];
    [copy setLabel:_label];
    [copy setStorageMode:_storageMode];
    [copy setSampleCount:_sampleCount];
    return copy;
}

@end
