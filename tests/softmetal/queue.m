/* Queues, and the thread that plays the GPU for each. */
#include "objects.h"

#import <Foundation/NSThread.h>

static void drop_stream(soft_stream *s)
{
    pthread_mutex_lock(&s->lock);
    int left = --s->references;
    pthread_mutex_unlock(&s->lock);
    if (left) return;
    for (int i = 0; i < s->n_idle; i++) soft_free_tape(s->idle[i]);
    free(s->idle);
    free(s->waiting);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* The next command buffer, when it is committed: nil when the queue is gone. */
static SoftCommands *next_commands(soft_stream *s)
{
    SoftCommands *next = nil;
    pthread_mutex_lock(&s->lock);
    while (!s->stopped &&
           !(s->n_waiting && s->waiting[0]->status >= MTLCommandBufferStatusCommitted))
        pthread_cond_wait(&s->changed, &s->lock);
    if (!s->stopped) {
        next = s->waiting[0];
        memmove(s->waiting, s->waiting + 1, (size_t)--s->n_waiting * sizeof *s->waiting);
    }
    pthread_mutex_unlock(&s->lock);
    return next;
}

static void call_handlers(NSMutableArray *handlers, SoftCommands *commands)
{
    for (NSValue *handler in handlers)
        ((MTLCommandBufferHandler)[handler pointerValue])(commands);
}

static void run_commands(soft_stream *s, SoftCommands *commands)
{
    @autoreleasepool {
        LOG("scheduled", NULL, commands->number);
        commands->kernel[0] = (double)soft_nanoseconds() * 1e-9;
        pthread_mutex_lock(&s->lock);
        commands->status = MTLCommandBufferStatusScheduled;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        call_handlers(commands->scheduledHandlers, commands);
        commands->kernel[1] = commands->gpu[0] = (double)soft_nanoseconds() * 1e-9;
        NSError *error = soft_replay(commands);
        commands->gpu[1] = (double)soft_nanoseconds() * 1e-9;
        commands->error = [error retain];
        soft_count_flight(commands->tape, -1);
        soft_give_tape(s, commands->tape);
        commands->tape = NULL;
        if (error)
            LOG("failed", NULL, commands->number, [error code]);
        else
            LOG("completed", NULL, commands->number);
        pthread_mutex_lock(&s->lock);
        s->outstanding--;
        s->committed--;
        commands->status = error ? MTLCommandBufferStatusError : MTLCommandBufferStatusCompleted;
        pthread_mutex_unlock(&s->lock);
        call_handlers(commands->completedHandlers, commands);
    }
    /* Whoever waits goes on only when nothing here refers to the command buffer any more. */
    pthread_mutex_lock(&s->lock);
    commands->is_done = 1;
    pthread_cond_broadcast(&s->changed);
    [commands release];
    pthread_mutex_unlock(&s->lock);
}

static void *work(void *argument)
{
    soft_stream *s = argument;
    GSRegisterCurrentThread();
    for (;;) {
        SoftCommands *commands = next_commands(s);
        if (!commands) break;
        run_commands(s, commands);
    }
    GSUnregisterCurrentThread();
    drop_stream(s);
    return NULL;
}

soft_stream *soft_new_stream(void)
{
    soft_stream *s = calloc(1, sizeof *s);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    if (!s || pthread_mutex_init(&s->lock, &attributes)) abort();
    pthread_mutexattr_destroy(&attributes);
    pthread_cond_init(&s->changed, NULL);
    s->references = 2;
    if (pthread_create(&s->thread, NULL, work, s)) abort();
    return s;
}

void soft_stop_stream(soft_stream *s)
{
    pthread_t thread = s->thread;
    pthread_mutex_lock(&s->lock);
    s->stopped = 1;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (pthread_equal(thread, pthread_self()))
        pthread_detach(thread); /* the last reference went in a handler */
    else
        pthread_join(thread, NULL);
    drop_stream(s);
}

@implementation SoftQueue
@dynamic label, device; /* SoftObject has them */

- (id)initWithDevice:(SoftDevice *)owner most:(NSUInteger)count
{
    static _Atomic int64_t numbers;
    if (!(self = [super initWithDevice:owner])) return nil;
    most = count;
    residency = [[NSMutableArray alloc] init];
    stream = soft_new_stream();
    number = ++numbers;
    LOG("queue", NULL, number, (int64_t)count);
    return self;
}

- (void)dealloc
{
    soft_stop_stream(stream);
    [residency release];
    [super dealloc];
}

/* Metal waits for one of too many to complete; where none is committed it would wait for ever. */
- (int)waitForRoom
{
    pthread_mutex_lock(&stream->lock);
    while ((NSUInteger)stream->outstanding >= most && stream->committed)
        pthread_cond_wait(&stream->changed, &stream->lock);
    int has_room = (NSUInteger)stream->outstanding < most;
    stream->outstanding += has_room;
    pthread_mutex_unlock(&stream->lock);
    if (!has_room)
        soft_fault(@"commandBuffer: the queue has %d command buffers, none of them committed, and "
                   @"would wait for ever", (int)most);
    return has_room;
}

- (id<MTLCommandBuffer>)makeCommands:(BOOL)retained options:(MTLCommandBufferErrorOption)options
{
    if (![self waitForRoom]) return nil;
    return [[[SoftCommands alloc] initWithQueue:self retain:retained options:options] autorelease];
}

- (id<MTLCommandBuffer>)commandBuffer { return [self makeCommands:YES options:0]; }
- (id<MTLCommandBuffer>)commandBufferWithUnretainedReferences
{
    return [self makeCommands:NO options:0];
}
- (id<MTLCommandBuffer>)commandBufferWithDescriptor:(MTLCommandBufferDescriptor *)descriptor
{
    return [self makeCommands:[descriptor retainedReferences] options:[descriptor errorOptions]];
}

- (void)addResidencySet:(id<MTLResidencySet>)set
{
    @synchronized(residency) {
        if (![residency containsObject:set]) [residency addObject:set];
        if ([residency count] > 32) soft_fault(@"addResidencySet: a queue takes 32 at most");
    }
}

- (void)addResidencySets:(const id<MTLResidencySet>[])sets count:(NSUInteger)count
{
    for (NSUInteger i = 0; i < count; i++) [self addResidencySet:sets[i]];
}

- (void)removeResidencySet:(id<MTLResidencySet>)set
{
    @synchronized(residency) {
        [residency removeObject:set];
    }
}

- (void)removeResidencySets:(const id<MTLResidencySet>[])sets count:(NSUInteger)count
{
    for (NSUInteger i = 0; i < count; i++) [self removeResidencySet:sets[i]];
}

@end
