/* Command buffers. */
#include "objects.h"

NSErrorDomain const MTLCommandBufferErrorDomain = @"MTLCommandBufferErrorDomain";
NSString *const MTLCommandBufferEncoderInfoErrorKey = @"MTLCommandBufferEncoderInfoErrorKey";

@implementation SoftCommands
@dynamic label, device; /* SoftObject has them */

- (id)initWithQueue:(SoftQueue *)owner
             retain:(BOOL)retained
            options:(MTLCommandBufferErrorOption)wanted
{
    static _Atomic int64_t numbers;
    if (!(self = [super initWithDevice:owner->device])) return nil;
    queue = [owner retain];
    retains = retained;
    options = wanted;
    tape = soft_take_tape(queue->stream);
    number = ++numbers;
    LOG("commands", NULL, number, retained);
    return self;
}

static void drop_handlers(NSMutableArray *handlers)
{
    for (NSValue *handler in handlers) Block_release([handler pointerValue]);
    [handlers release];
}

- (void)dealloc
{
    if (tape) { /* never committed */
        pthread_mutex_lock(&queue->stream->lock);
        queue->stream->outstanding--;
        pthread_mutex_unlock(&queue->stream->lock);
        soft_give_tape(queue->stream, tape);
    }
    drop_handlers(scheduledHandlers);
    drop_handlers(completedHandlers);
    [residency release];
    [error release];
    [queue release];
    [super dealloc];
}

- (id<MTLCommandQueue>)commandQueue { return queue; }
- (BOOL)retainedReferences { return retains != 0; }
- (MTLCommandBufferErrorOption)errorOptions { return options; }
- (MTLCommandBufferStatus)status { return status; }
- (NSError *)error { return status == MTLCommandBufferStatusError ? error : nil; }
- (CFTimeInterval)kernelStartTime { return kernel[0]; }
- (CFTimeInterval)kernelEndTime { return kernel[1]; }
- (CFTimeInterval)GPUStartTime { return status >= MTLCommandBufferStatusCompleted ? gpu[0] : 0.0; }
- (CFTimeInterval)GPUEndTime { return status >= MTLCommandBufferStatusCompleted ? gpu[1] : 0.0; }

/* Whether `method` may still change this command buffer. */
- (int)isOpenFor:(const char *)method
{
    if (status < MTLCommandBufferStatusCommitted) return 1;
    soft_fault(@"%s: the command buffer is committed already", method);
    return 0;
}

- (int)canEncode:(const char *)method
{
    if (![self isOpenFor:method]) return 0;
    if (!encoder) return 1;
    soft_spoil(tape, @"%s: the encoder before it has not ended: endEncoding is missing", method);
    return 0;
}

/* Takes its place in the queue, which retains it. */
- (void)enqueue
{
    soft_stream *s = queue->stream;
    if (![self isOpenFor:"enqueue"]) return;
    pthread_mutex_lock(&s->lock);
    if (!is_enqueued) {
        if (s->n_waiting == s->room) {
            uint32_t room = (uint32_t)s->room;
            soft_grow((void **)&s->waiting, room + 1, &room, sizeof *s->waiting);
            s->room = (int)room;
        }
        s->waiting[s->n_waiting++] = [self retain];
        is_enqueued = 1;
        status = MTLCommandBufferStatusEnqueued;
    }
    pthread_mutex_unlock(&s->lock);
}

/* With unretained references, things may have gone since they were encoded. */
- (void)checkReferences
{
    for (uint32_t i = 0; i < tape->n_memories; i++)
        if (!tape->memories[i]->alive)
            soft_spoil(tape, @"commit: %s (%zu bytes) was released after it was encoded with "
                             @"unretained references", tape->memories[i]->label,
                       tape->memories[i]->length);
    for (uint32_t i = 0; i < tape->n_kernels; i++)
        if (!tape->kernels[i]->alive)
            soft_spoil(tape, @"commit: the pipeline of %@ was released after it was encoded with "
                             @"unretained references", [tape->kernels[i]->function name]);
}

- (void)commit
{
    soft_stream *s = queue->stream;
    if (![self isOpenFor:"commit"]) return;
    if (encoder) {
        soft_spoil(tape, @"commit: an encoder has not ended: endEncoding is missing");
        [encoder softAbandon];
    }
    [self checkReferences];
    [self enqueue];
    LOG("commit", NULL, number);
    soft_count_flight(tape, 1);
    pthread_mutex_lock(&s->lock);
    status = MTLCommandBufferStatusCommitted;
    s->committed++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

- (void)addScheduledHandler:(MTLCommandBufferHandler)block
{
    if (![self isOpenFor:"addScheduledHandler"]) return;
    if (!scheduledHandlers) scheduledHandlers = [[NSMutableArray alloc] init];
    [scheduledHandlers addObject:[NSValue valueWithPointer:Block_copy(block)]];
}

- (void)addCompletedHandler:(MTLCommandBufferHandler)block
{
    if (![self isOpenFor:"addCompletedHandler"]) return;
    if (!completedHandlers) completedHandlers = [[NSMutableArray alloc] init];
    [completedHandlers addObject:[NSValue valueWithPointer:Block_copy(block)]];
}

- (int)canWait:(const char *)method
{
    if (status >= MTLCommandBufferStatusCommitted) return 1;
    soft_fault(@"%s: the command buffer is not committed and would be waited for for ever", method);
    return 0;
}

- (void)waitUntilScheduled
{
    if (![self canWait:"waitUntilScheduled"]) return;
    pthread_mutex_lock(&queue->stream->lock);
    while (status < MTLCommandBufferStatusScheduled)
        pthread_cond_wait(&queue->stream->changed, &queue->stream->lock);
    pthread_mutex_unlock(&queue->stream->lock);
}

- (void)waitUntilCompleted
{
    if (![self canWait:"waitUntilCompleted"]) return;
    pthread_mutex_lock(&queue->stream->lock);
    LOG("wait", NULL, number, is_done);
    while (!is_done) pthread_cond_wait(&queue->stream->changed, &queue->stream->lock);
    pthread_mutex_unlock(&queue->stream->lock);
}

- (id<MTLBlitCommandEncoder>)blitCommandEncoder
{
    if (![self canEncode:"blitCommandEncoder"]) return nil;
    LOG("encoder", "blit", number);
    return [[[SoftBlit alloc] initWithCommands:self] autorelease];
}

- (id<MTLComputeCommandEncoder>)computeCommandEncoder
{
    return [self computeCommandEncoderWithDispatchType:MTLDispatchTypeSerial];
}

- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)type
{
    if (![self canEncode:"computeCommandEncoder"]) return nil;
    return [[[SoftEncoder alloc] initWithCommands:self type:type] autorelease];
}

- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDescriptor:(MTLComputePassDescriptor *)pass
{
    if (![self canEncode:"computeCommandEncoderWithDescriptor"]) return nil;
    SoftEncoder *made = [[[SoftEncoder alloc] initWithCommands:self
                                                          type:[pass dispatchType]] autorelease];
    soft_sample_pass(tape, pass);
    return made;
}

- (void)pushDebugGroup:(NSString *)string
{
    if ([self isOpenFor:"pushDebugGroup"]) depth++;
}

- (void)popDebugGroup
{
    if (![self isOpenFor:"popDebugGroup"]) return;
    if (--depth < 0) soft_spoil(tape, @"popDebugGroup: no group was pushed");
}

- (void)useResidencySet:(id<MTLResidencySet>)set
{
    if (![self isOpenFor:"useResidencySet"]) return;
    if (!residency) residency = [[NSMutableArray alloc] init];
    [residency addObject:set];
}

- (void)useResidencySets:(const id<MTLResidencySet>[])sets count:(NSUInteger)count
{
    for (NSUInteger i = 0; i < count; i++) [self useResidencySet:sets[i]];
}

@end
