/* What tests plan: other machines, limits and failures. */
#include "cases.h"

CASE(no_gpu)
{
    softmetal_set_present(0);
    say("device", MTLCreateSystemDefaultDevice() != nil);
}

CASE(same_device)
{
    id<MTLDevice> again = MTLCreateSystemDefaultDevice();
    say("same", again == device);
    [again release];
}

static void say_families(void)
{
    say("apple8", [device supportsFamily:MTLGPUFamilyApple8]);
    say("apple7", [device supportsFamily:MTLGPUFamilyApple7]);
    say("apple6", [device supportsFamily:MTLGPUFamilyApple6]);
    say("metal3", [device supportsFamily:MTLGPUFamilyMetal3]);
    say("common3", [device supportsFamily:MTLGPUFamilyCommon3]);
}

CASE(families) { say_families(); }
CASE(old_gpu)
{
    softmetal_set_apple_family(6);
    say_families();
}
CASE(old_system)
{
    softmetal_set_metal3(0);
    say_families();
}

CASE(limits)
{
    softmetal_limit_buffer_length(1000);
    softmetal_limit_working_set(5000);
    softmetal_limit_memory(1500);
    say("buffer_length", (double)[device maxBufferLength]);
    say("working_set", (double)[device recommendedMaxWorkingSetSize]);
    id<MTLBuffer> first = [device newBufferWithLength:1000 options:0];
    say("allocated", (double)[device currentAllocatedSize]);
    say("second", [device newBufferWithLength:501 options:0] != nil);
    [first release];
    say("freed", (double)[device currentAllocatedSize]);
    [[device newBufferWithLength:501 options:0] release];
}

CASE(above_the_limit)
{
    softmetal_limit_buffer_length(1000);
    say("made", [device newBufferWithLength:1001 options:0] != nil);
}

CASE(empty_buffer) { say("made", [device newBufferWithLength:0 options:0] != nil); }

CASE(private_bytes)
{
    say("made", [device newBufferWithBytes:"abcd" length:4
                                   options:MTLResourceStorageModePrivate] != nil);
}

CASE(storage)
{
    id<MTLBuffer> hidden = [device newBufferWithLength:64 options:MTLResourceStorageModePrivate];
    id<MTLBuffer> copied = [device newBufferWithBytes:"abcd" length:4
                                              options:MTLResourceStorageModeShared];
    say("private_contents", [hidden contents] != NULL);
    say("private_mode", (double)[hidden storageMode]);
    say("address", [hidden gpuAddress] != 0);
    say("copied", memcmp([copied contents], "abcd", 4) == 0);
    [hidden release];
    [copied release];
}

CASE(contents)
{
    for (int poisons = 1; poisons >= 0; poisons--) {
        softmetal_set_poison(poisons);
        id<MTLBuffer> fresh = [device newBufferWithLength:4 options:0];
        say("value", *(int *)[fresh contents]);
        [fresh release];
    }
}

CASE(failing_allocation)
{
    softmetal_fail_allocation(2);
    for (int i = 0; i < 3; i++) {
        id<MTLBuffer> buffer = [device newBufferWithLength:64 options:0];
        say("made", buffer != nil);
        [buffer release];
    }
}

CASE(refused_no_copy)
{
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, 4096)) return;
    softmetal_refuse_no_copy(1);
    say("made", [device newBufferWithBytesNoCopy:memory length:4096 options:0
                                      deallocator:nil] != nil);
    free(memory);
}

static void run_chain(id<MTLBuffer> y)
{
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder =
        [commands computeCommandEncoderWithDispatchType:MTLDispatchTypeSerial];
    [encoder setComputePipelineState:pipeline("plus_one")];
    [encoder setBuffer:y offset:0 atIndex:0];
    for (int i = 0; i < 5; i++) dispatch(encoder, 1, 32);
    finish(commands, encoder);
}

CASE(failing_commands)
{
    id<MTLBuffer> y = floats(32, 0.0f);
    softmetal_fail_commands(2, MTLCommandBufferErrorTimeout, 3);
    for (int i = 0; i < 3; i++) {
        run_chain(y);
        say("result", at(y, 0)); /* 5, then 3 more, then 5 more */
    }
}

CASE(failing_after_all)
{
    id<MTLBuffer> y = floats(32, 0.0f);
    softmetal_fail_commands(1, MTLCommandBufferErrorOutOfMemory, 99);
    run_chain(y);
    say("result", at(y, 0));
}

CASE(failing_kernel)
{
    id<MTLBuffer> y = floats(32, 0.0f);
    const char *const names[] = {"twice", "plus_one", NULL};
    for (int i = 0; i < 3; i++) {
        softmetal_fail_kernel(names[i], MTLCommandBufferErrorInternal);
        run_chain(y);
        say("result", at(y, 0));
    }
}

static int count_threads(void)
{
    return (int)[[[NSFileManager defaultManager] contentsOfDirectoryAtPath:@"/proc/self/task"
                                                                     error:NULL] count];
}

/* Threads that a dispatch of many threadgroups adds, with one worker and with three. */
CASE(workers)
{
    for (int n = 1; n <= 3; n += 2) {
        softmetal_set_workers(n);
        id<MTLCommandBuffer> commands = [queue commandBuffer];
        id<MTLComputeCommandEncoder> encoder = begin(commands);
        [encoder setComputePipelineState:pipeline("twice")];
        [encoder setBuffer:floats(32 * 64, 0.0f) offset:0 atIndex:0];
        dispatch(encoder, 64, 32);
        finish(commands, encoder);
        say("threads", count_threads());
    }
}

CASE(kernels_off)
{
    id<MTLBuffer> y = floats(32, 0.0f);
    softmetal_set_kernels(0);
    run_chain(y);
    say("result", at(y, 0));
}

CASE(encoder_states)
{
    MTLCommandBufferDescriptor *descriptor =
        [[[MTLCommandBufferDescriptor alloc] init] autorelease];
    [descriptor setErrorOptions:MTLCommandBufferErrorOptionEncoderExecutionStatus];
    id<MTLCommandBuffer> commands = [queue commandBufferWithDescriptor:descriptor];
    NSString *const names[] = {@"first", @"second", @"third"};
    for (int i = 0; i < 3; i++) {
        id<MTLComputeCommandEncoder> encoder = begin(commands);
        [encoder setLabel:names[i]];
        [encoder insertDebugSignpost:@"here"];
        [encoder setComputePipelineState:pipeline("twice")];
        [encoder setBuffer:floats(32, 0.0f) offset:0 atIndex:0];
        dispatch(encoder, 1, 32);
        [encoder endEncoding];
    }
    softmetal_fail_commands(1, MTLCommandBufferErrorInternal, 1);
    finish(commands, nil);
    for (id<MTLCommandBufferEncoderInfo> info in
         [[[commands error] userInfo] objectForKey:MTLCommandBufferEncoderInfoErrorKey])
        printf("encoder %s %d %s\n", [[info label] UTF8String], (int)[info errorState],
               [[[info debugSignposts] objectAtIndex:0] UTF8String]);
}

CASE(raised)
{
    softmetal_on_fault(SOFTMETAL_RAISE);
    @try {
        [device newBufferWithLength:0 options:0];
    } @catch (NSException *exception) {
        say_text("caught", [[exception reason] UTF8String]);
    }
}

CASE(aborted)
{
    softmetal_on_fault(SOFTMETAL_ABORT);
    [device newBufferWithLength:0 options:0];
    say_text("still", "here");
}

CASE(reset)
{
    softmetal_set_apple_family(1);
    softmetal_fail_allocation(1);
    [device newBufferWithLength:0 options:0];
    softmetal_reset();
    say("apple8", [device supportsFamily:MTLGPUFamilyApple8]);
    id<MTLBuffer> buffer = [device newBufferWithLength:4 options:0];
    say("made", buffer != nil);
    say("faults", softmetal_fault_count());
    [buffer release];
}
