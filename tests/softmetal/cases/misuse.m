/* Mistakes of a host that Apple's validation stops at. */
#include "cases.h"

CASE(nothing_wrong)
{
    id<MTLBuffer> x = floats(64, 3.0f), y = floats(64, 1.0f);
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    set_axpy(encoder, 2.0f, x, y);
    dispatch(encoder, 2, 32);
    [encoder memoryBarrierWithScope:MTLBarrierScopeBuffers];
    [encoder setBufferOffset:128 atIndex:2];
    dispatch(encoder, 1, 32);
    finish(commands, encoder);
    say("first", at(y, 0));  /* 2 * 3 + 1 */
    say("last", at(y, 63)); /* and 2 * 3 more */
}

/* The order of calls. */

CASE(no_pipeline)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    dispatch(encoder, 1, 32);
    finish(commands, encoder);
}

CASE(dispatch_after_end)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    set_axpy(encoder, 1.0f, floats(32, 0.0f), floats(32, 0.0f));
    [encoder endEncoding];
    dispatch(encoder, 1, 32);
}

CASE(end_twice)
{
    id<MTLComputeCommandEncoder> encoder = begin([queue commandBuffer]);
    [encoder endEncoding];
    [encoder endEncoding];
}

CASE(never_ended)
{
    @autoreleasepool {
        begin([queue commandBuffer]);
    }
}

CASE(commit_before_end)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    begin(commands);
    finish(commands, nil);
}

CASE(commit_twice)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    [commands commit];
    finish(commands, nil);
}

CASE(encode_after_commit)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    [commands commit];
    [commands waitUntilCompleted];
    say("encoder", begin(commands) != nil);
}

CASE(two_encoders_at_once)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    say("second", begin(commands) != nil);
    finish(commands, encoder);
}

CASE(wait_before_commit) { [[queue commandBuffer] waitUntilCompleted]; }

CASE(handler_after_commit)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    [commands commit];
    [commands addCompletedHandler:^(id<MTLCommandBuffer> done) { (void)done; }];
    [commands waitUntilCompleted];
}

CASE(never_committed)
{
    id<MTLBuffer> x = floats(32, 0.0f), y = floats(32, 0.0f); /* outlive what refers to them */
    @autoreleasepool {
        id<MTLComputeCommandEncoder> encoder = begin([queue commandBufferWithUnretainedReferences]);
        set_axpy(encoder, 1.0f, x, y);
        dispatch(encoder, 1, 32);
        [encoder endEncoding];
    }
}

CASE(too_many_uncommitted)
{
    id<MTLCommandQueue> small = [[device newCommandQueueWithMaxCommandBufferCount:3] autorelease];
    for (int i = 0; i < 3; i++) [small commandBuffer];
    say("fourth", [small commandBuffer] != nil);
}

/* What is bound. */

static id absent; /* nil, which the compiler would refuse */

static void try_binding(void (^bind)(id<MTLComputeCommandEncoder> encoder))
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    set_axpy(encoder, 1.0f, floats(64, 0.0f), floats(64, 0.0f));
    bind(encoder);
    dispatch(encoder, 1, 32);
    finish(commands, encoder);
}

#define BINDING_CASE(name, ...)                                                                    \
    CASE(name)                                                                                     \
    {                                                                                              \
        try_binding(^(id<MTLComputeCommandEncoder> encoder) { __VA_ARGS__; });                     \
    }

BINDING_CASE(buffer_at_31, [encoder setBuffer:floats(32, 0.0f) offset:0 atIndex:31])
BINDING_CASE(bytes_at_31, [encoder setBytes:"abcd" length:4 atIndex:31])
BINDING_CASE(offset_at_31, [encoder setBufferOffset:0 atIndex:31])
BINDING_CASE(threadgroup_at_31, [encoder setThreadgroupMemoryLength:16 atIndex:31])
BINDING_CASE(too_many_bytes, char bytes[4097] = ""; [encoder setBytes:bytes length:4097 atIndex:0])
BINDING_CASE(most_bytes, char bytes[4096] = ""; [encoder setBytes:bytes length:4096 atIndex:0])
BINDING_CASE(no_bytes, [encoder setBytes:"" length:0 atIndex:0])
BINDING_CASE(offset_at_the_end, [encoder setBuffer:floats(8, 0.0f) offset:32 atIndex:1])
BINDING_CASE(later_offset_at_the_end, [encoder setBufferOffset:256 atIndex:1])
BINDING_CASE(offset_of_nothing, [encoder setBufferOffset:0 atIndex:7])
BINDING_CASE(offset_of_bytes, [encoder setBufferOffset:0 atIndex:0])
BINDING_CASE(misaligned_constant, [encoder setBuffer:floats(8, 0.0f) offset:2 atIndex:0])
BINDING_CASE(misaligned_device, [encoder setBufferOffset:6 atIndex:2])
BINDING_CASE(unbound, [encoder setBuffer:nil offset:0 atIndex:1])
BINDING_CASE(bytes_where_it_writes, float y[32]; [encoder setBytes:y length:sizeof y atIndex:2])
BINDING_CASE(several_buffers, id<MTLBuffer> two[] = {floats(32, 1.0f), floats(32, 1.0f)};
             const NSUInteger offsets[] = {0, 64};
             [encoder setBuffers:two offsets:offsets withRange:NSMakeRange(1, 2)];
             dispatch(encoder, 1, 16); [encoder setBufferOffset:0 atIndex:2])
BINDING_CASE(several_to_31, id<MTLBuffer> two[] = {floats(32, 1.0f), floats(32, 1.0f)};
             const NSUInteger offsets[] = {0, 0};
             [encoder setBuffers:two offsets:offsets withRange:NSMakeRange(30, 2)])
BINDING_CASE(barrier_of_nothing, [encoder memoryBarrierWithScope:0])
BINDING_CASE(group_not_popped, [encoder pushDebugGroup:@"a"])
BINDING_CASE(group_not_pushed, [encoder popDebugGroup])
BINDING_CASE(groups_paired, [encoder pushDebugGroup:@"a"]; [encoder popDebugGroup])
BINDING_CASE(no_resource, [encoder useResource:absent usage:MTLResourceUsageRead])
BINDING_CASE(nil_pipeline, [encoder setComputePipelineState:absent])

CASE(struct_too_small)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:pipeline("take_struct")];
    [encoder setBuffer:floats(8, 0.0f) offset:16 atIndex:0];
    [encoder setBuffer:floats(1, 0.0f) offset:0 atIndex:1];
    dispatch(encoder, 1, 1);
    finish(commands, encoder);
}

/* An offset of bytes can be anything; one of float4 is a multiple of 16. */
static void widen(NSUInteger from, NSUInteger to)
{
    id<MTLBuffer> x = floats(8, 0.0f), y = floats(16, 0.0f);
    ((uint8_t *)[x contents])[from] = 9;
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:pipeline("widen")];
    [encoder setBuffer:x offset:from atIndex:0];
    [encoder setBuffer:y offset:to atIndex:1];
    dispatch(encoder, 1, 2);
    finish(commands, encoder);
    say("result", at(y, (int)to / 4 + 3));
}

CASE(aligned) { widen(3, 16); }
CASE(misaligned_vector) { widen(3, 8); }

/* Grids and threadgroup memory. */

static void try_grid(const char *kernel, int groups, int threads, int shared)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:pipeline(kernel)];
    [encoder setBuffer:floats(2048, 0.0f) offset:0 atIndex:0];
    if (shared) [encoder setThreadgroupMemoryLength:(NSUInteger)shared atIndex:0];
    dispatch(encoder, groups, threads);
    finish(commands, encoder);
}

CASE(no_threadgroups) { try_grid("twice", 0, 32, 0); }
CASE(no_threads) { try_grid("twice", 1, 0, 0); }
CASE(most_threads) { try_grid("twice", 2, 1024, 0); }
CASE(too_many_threads) { try_grid("twice", 1, 1025, 0); }
CASE(too_many_for_the_kernel) { try_grid("narrow", 1, 65, 0); }
CASE(threadgroup_memory) { try_grid("reversed", 1, 64, 256); }
CASE(no_threadgroup_memory) { try_grid("reversed", 1, 64, 0); }
CASE(odd_threadgroup_memory) { try_grid("reversed", 1, 64, 257); }
CASE(most_threadgroup_memory) { try_grid("reversed", 1, 64, 32768); }
CASE(too_much_threadgroup_memory) { try_grid("reversed", 1, 64, 32784); }

/* Two arguments of threadgroup memory, of `bytes` each. */
static void try_two(NSUInteger bytes)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:pipeline("with_two")];
    [encoder setBuffer:floats(32, 0.0f) offset:0 atIndex:0];
    for (NSUInteger i = 0; i < 2; i++) [encoder setThreadgroupMemoryLength:bytes atIndex:i];
    dispatch(encoder, 1, 32);
    finish(commands, encoder);
}

CASE(two_threadgroup_memories) { try_two(16384); }
CASE(too_much_together) { try_two(16400); }

CASE(broken_promise)
{
    MTLComputePipelineDescriptor *descriptor =
        [[[MTLComputePipelineDescriptor alloc] init] autorelease];
    id<MTLFunction> function = [[kernels() newFunctionWithName:@"twice"] autorelease];
    [descriptor setComputeFunction:function];
    [descriptor setThreadGroupSizeIsMultipleOfThreadExecutionWidth:YES];
    [descriptor setMaxTotalThreadsPerThreadgroup:128];
    id<MTLComputePipelineState> state =
        [[device newComputePipelineStateWithDescriptor:descriptor
                                               options:MTLPipelineOptionNone
                                            reflection:NULL
                                                 error:NULL] autorelease];
    say("most", (double)[state maxTotalThreadsPerThreadgroup]);
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:state];
    [encoder setBuffer:floats(64, 0.0f) offset:0 atIndex:0];
    dispatch(encoder, 1, 64);
    dispatch(encoder, 1, 48);
    finish(commands, encoder);
}

CASE(uneven_threads)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:pipeline("twice")];
    [encoder setBuffer:floats(100, 0.0f) offset:0 atIndex:0];
    [encoder dispatchThreads:MTLSizeMake(100, 1, 1) threadsPerThreadgroup:MTLSizeMake(32, 1, 1)];
    finish(commands, encoder);
}
