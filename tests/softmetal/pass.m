/* Descriptors of compute passes: where samples at an encoder's borders go. */
#include "objects.h"

enum { MOST_ATTACHMENTS = 4 };

void soft_sample_pass(soft_tape *t, MTLComputePassDescriptor *pass)
{
    segment *s = &t->segments[t->n_segments - 1];
    MTLComputePassSampleBufferAttachmentDescriptor *wanted =
        [[pass sampleBufferAttachments] objectAtIndexedSubscript:0];
    SoftCounters *counters = (SoftCounters *)[wanted sampleBuffer];
    const NSUInteger at[2] = {[wanted startOfEncoderSampleIndex], [wanted endOfEncoderSampleIndex]};
    if (!counters) return;
    soft_hold(t, counters);
    for (int i = 0; i < 2; i++) {
        if (at[i] == MTLCounterDontSample) continue;
        if (at[i] >= counters->count) {
            soft_spoil(t, @"computeCommandEncoderWithDescriptor: there is no sample %zu", (size_t)at[i]);
            continue;
        }
        s->counters[i] = counters;
        s->stamps[i] = at[i];
    }
}

@implementation MTLComputePassSampleBufferAttachmentDescriptor
@synthesize sampleBuffer = _sampleBuffer, startOfEncoderSampleIndex = _start;
@synthesize endOfEncoderSampleIndex = _end;

- (id)init
{
    if (!(self = [super init])) return nil;
    _start = 0;
    _end = 1;
    soft_count(self, 1);
    return self;
}

- (void)dealloc
{
    [_sampleBuffer release];
    soft_count(self, -1);
    [super dealloc];
}

- (id)copyWithZone:(NSZone *)zone
{
    MTLComputePassSampleBufferAttachmentDescriptor *copy =
        [[MTLComputePassSampleBufferAttachmentDescriptor allocWithZone:zone] init];
    [copy setSampleBuffer:_sampleBuffer];
    [copy setStartOfEncoderSampleIndex:_start];
    [copy setEndOfEncoderSampleIndex:_end];
    return copy;
}

@end

@implementation MTLComputePassSampleBufferAttachmentDescriptorArray

- (id)init
{
    if (!(self = [super init])) return nil;
    _attachments = [[NSMutableDictionary alloc] init];
    soft_count(self, 1);
    return self;
}

- (void)dealloc
{
    [_attachments release];
    soft_count(self, -1);
    [super dealloc];
}

/* Made when they are first asked for. */
- (MTLComputePassSampleBufferAttachmentDescriptor *)objectAtIndexedSubscript:(NSUInteger)index
{
    NSNumber *key = [NSNumber numberWithUnsignedLong:index];
    if (index >= MOST_ATTACHMENTS) {
        soft_fault(@"sampleBufferAttachments: index %zu; there are %d", (size_t)index,
                   MOST_ATTACHMENTS);
        return nil;
    }
    if (![_attachments objectForKey:key])
        [_attachments
            setObject:[[[MTLComputePassSampleBufferAttachmentDescriptor alloc] init] autorelease]
               forKey:key];
    return [_attachments objectForKey:key];
}

- (void)setObject:(MTLComputePassSampleBufferAttachmentDescriptor *)attachment
    atIndexedSubscript:(NSUInteger)index
{
    NSNumber *key = [NSNumber numberWithUnsignedLong:index];
    if (attachment)
        [_attachments setObject:[[attachment copy] autorelease] forKey:key];
    else
        [_attachments removeObjectForKey:key];
}

@end

@implementation MTLComputePassDescriptor
@synthesize dispatchType = _dispatchType;

+ (MTLComputePassDescriptor *)computePassDescriptor
{
    return [[[MTLComputePassDescriptor alloc] init] autorelease];
}

- (id)init
{
    if (!(self = [super init])) return nil;
    _attachments = [[MTLComputePassSampleBufferAttachmentDescriptorArray alloc] init];
    soft_count(self, 1);
    return self;
}

- (void)dealloc
{
    [_attachments release];
    soft_count(self, -1);
    [super dealloc];
}

- (id)copyWithZone:(NSZone *)zone
{
    MTLComputePassDescriptor *copy = [[MTLComputePassDescriptor allocWithZone:zone] init];
    [copy setDispatchType:_dispatchType];
    for (NSUInteger i = 0; i < MOST_ATTACHMENTS; i++)
        [[copy sampleBufferAttachments] setObject:[_attachments objectAtIndexedSubscript:i]
                               atIndexedSubscript:i];
    return copy;
}

- (MTLComputePassSampleBufferAttachmentDescriptorArray *)sampleBufferAttachments
{
    return _attachments;
}

@end
