/* Who keeps what alive, and what is left. */
#include "cases.h"

#include <unistd.h>

/* Encodes axpy on buffers that are released before `commit`. */
static id<MTLCommandBuffer> encode_and_release(id<MTLCommandBuffer> commands)
{
    @autoreleasepool {
        id<MTLComputeCommandEncoder> encoder = begin(commands);
        set_axpy(encoder, 1.0f, floats(32, 0.0f), floats(32, 0.0f));
        dispatch(encoder, 1, 32);
        [encoder endEncoding];
    }
    return commands;
}

CASE(retained) { finish(encode_and_release([queue commandBuffer]), nil); }

CASE(released_before_commit)
{
    finish(encode_and_release([queue commandBufferWithUnretainedReferences]), nil);
}

/* A command buffer whose GPU work waits for the host. */
static void hold(id<MTLCommandBuffer> commands, int pipe_end)
{
    [commands addScheduledHandler:^(id<MTLCommandBuffer> scheduled) {
      char byte;
      (void)scheduled;
      if (read(pipe_end, &byte, 1) != 1) say_text("pipe", "closed");
    }];
}

CASE(released_in_flight)
{
    int ends[2];
    if (pipe(ends)) return;
    id<MTLCommandBuffer> commands = [queue commandBufferWithUnretainedReferences];
    id<MTLBuffer> y = [device newBufferWithLength:128 options:0];
    id<MTLComputePipelineState> state = [pipeline("twice") retain];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:state];
    [encoder setBuffer:y offset:0 atIndex:0];
    dispatch(encoder, 1, 32);
    [encoder endEncoding];
    hold(commands, ends[0]);
    [commands commit];
    [y setLabel:@"the result"];
    [y release];
    if (write(ends[1], "", 1) != 1) return;
    [commands waitUntilCompleted];
    say_error("error", [commands error]);
    [state release];
}

CASE(asynchronous)
{
    int ends[2];
    if (pipe(ends)) return;
    id<MTLBuffer> y = floats(32, 1.0f);
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:pipeline("twice")];
    [encoder setBuffer:y offset:0 atIndex:0];
    dispatch(encoder, 1, 32);
    [encoder endEncoding];
    hold(commands, ends[0]);
    [commands commit];
    say("before", at(y, 0));
    say("is_done", [commands status] >= MTLCommandBufferStatusCompleted);
    if (write(ends[1], "", 1) != 1) return;
    finish([queue commandBuffer], nil); /* comes after it in the queue */
    say("after", at(y, 0));
}

/* Places in the queue are taken by enqueue, not by commit. */
CASE(enqueue_order)
{
    id<MTLBuffer> y = floats(32, 1.0f);
    id<MTLCommandBuffer> two[] = {[queue commandBuffer], [queue commandBuffer]};
    const char *const names[] = {"twice", "plus_one"};
    for (int i = 0; i < 2; i++) {
        id<MTLComputeCommandEncoder> encoder = begin(two[i]);
        [encoder setComputePipelineState:pipeline(names[i])];
        [encoder setBuffer:y offset:0 atIndex:0];
        dispatch(encoder, 1, 32);
        [encoder endEncoding];
        [two[i] enqueue];
    }
    [two[1] commit];
    [two[0] commit];
    [two[1] waitUntilCompleted];
    say("result", at(y, 0)); /* 1 * 2 + 1 */
}

CASE(handlers)
{
    static int scheduled, completed;
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    [commands addScheduledHandler:^(id<MTLCommandBuffer> c) { scheduled = (int)[c status]; }];
    [commands addCompletedHandler:^(id<MTLCommandBuffer> c) { completed = (int)[c status]; }];
    finish(commands, nil); /* returns when the handlers have */
    say("scheduled", scheduled);
    say("completed", completed);
    say("in_order", [commands kernelStartTime] > 0.0 &&
                        [commands kernelStartTime] <= [commands GPUStartTime] &&
                        [commands GPUStartTime] <= [commands GPUEndTime]);
}

CASE(released_by_a_handler)
{
    id<MTLCommandQueue> other = [device newCommandQueue];
    @autoreleasepool {
        [[other commandBuffer] commit];
        [other release]; /* the command buffer has the last reference, on the GPU's thread */
    }
    for (int i = 0; i < 2000 && softmetal_live("SoftQueue") > 1; i++) usleep(1000);
}

CASE(leaked_buffer) { [device newBufferWithLength:64 options:0]; }

CASE(leaked_commands) { [[queue commandBuffer] retain]; }

CASE(leaked_options) { [[MTLCompileOptions alloc] init]; }

CASE(no_copy)
{
    static int freed;
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, 8192)) return;
    id<MTLBuffer> y = [device newBufferWithBytesNoCopy:memory
                                                length:8192
                                               options:MTLResourceStorageModeShared
                                           deallocator:^(void *pointer, NSUInteger length) {
                                             freed += (int)length;
                                             free(pointer);
                                           }];
    ((float *)memory)[5] = 21.0f;
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:pipeline("twice")];
    [encoder setBuffer:y offset:0 atIndex:0];
    dispatch(encoder, 1, 32);
    finish(commands, encoder);
    say("same", [y contents] == memory);
    say("result", ((float *)memory)[5]);
    [y release];
    say("freed", freed);
}

CASE(no_copy_address)
{
    say("made", [device newBufferWithBytesNoCopy:(void *)0x1010 length:4096 options:0
                                      deallocator:nil] != nil);
}

CASE(no_copy_length)
{
    say("made", [device newBufferWithBytesNoCopy:(void *)0x1000 length:4097 options:0
                                      deallocator:nil] != nil);
}
