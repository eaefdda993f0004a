/* The compute encoder. What it is told goes into flat arrays: a dispatch costs a copy of what its
 * kernel has bound, and the checks that Apple's validation makes. */
#include "objects.h"

enum { MOST_BYTES = 4096 };

@implementation SoftEncoder
@dynamic label, device; /* SoftObject has them */

- (id)initWithCommands:(SoftCommands *)owner type:(MTLDispatchType)wanted
{
    if (!(self = [super initWithCommands:owner])) return nil;
    type = wanted;
    LOG("encoder", NULL, owner->number, wanted == MTLDispatchTypeConcurrent);
    return self;
}

- (MTLDispatchType)dispatchType { return type; }

static int is_index(SoftEncoder *e, NSUInteger index, const char *method)
{
    if (!soft_is_open(e, method)) return 0;
    if (index < MSL_BUFFERS) return 1;
    soft_spoil(e->tape, @"%s: index %zu; there are %d, from 0", method, (size_t)index, MSL_BUFFERS);
    return 0;
}

- (void)setComputePipelineState:(id<MTLComputePipelineState>)state
{
    if (!soft_is_open(self, "setComputePipelineState")) return;
    if (!state) {
        soft_spoil(tape, @"setComputePipelineState: nil");
        return;
    }
    soft_refer_pipeline(commands, (SoftPipeline *)state);
    kernel = ((SoftPipeline *)state)->kernel;
}

- (void)setBytes:(const void *)bytes length:(NSUInteger)length atIndex:(NSUInteger)index
{
    if (!is_index(self, index, "setBytes")) return;
    if (!bytes || !length || length > MOST_BYTES) {
        soft_spoil(tape, @"setBytes: %zu bytes at index %zu; 1 to %d are allowed", (size_t)length,
                   (size_t)index, MOST_BYTES);
        return;
    }
    uint32_t at = TAKE(tape, bytes, (length + 15) & ~15u); /* aligned like a buffer */
    memcpy(tape->bytes + at, bytes, length);
    slots[index] = (slot){NULL, at, length};
    bound |= 1u << index;
}

static void set_buffer(SoftEncoder *e, SoftBuffer *buffer, NSUInteger offset, NSUInteger index)
{
    if (!buffer) {
        e->bound &= ~(1u << index);
        return;
    }
    soft_memory *m = buffer->memory;
    if (offset >= m->length) {
        soft_spoil(e->tape, @"setBuffer: offset %zu at index %zu is not below the length of %s, %zu",
                   (size_t)offset, (size_t)index, m->label, m->length);
        return;
    }
    soft_refer_buffer(e->commands, buffer);
    e->slots[index] = (slot){m, offset, m->length - offset};
    e->bound |= 1u << index;
}

- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index
{
    if (is_index(self, index, "setBuffer")) set_buffer(self, (SoftBuffer *)buffer, offset, index);
}

- (void)setBufferOffset:(NSUInteger)offset atIndex:(NSUInteger)index
{
    if (!is_index(self, index, "setBufferOffset")) return;
    slot *s = &slots[index];
    if (!(bound >> index & 1) || !s->memory) {
        soft_spoil(tape, @"setBufferOffset: no buffer is bound at index %zu", (size_t)index);
        return;
    }
    if (offset >= s->memory->length) {
        soft_spoil(tape, @"setBufferOffset: offset %zu at index %zu is not below the length of %s, %zu",
                   (size_t)offset, (size_t)index, s->memory->label, s->memory->length);
        return;
    }
    s->offset = offset;
    s->length = s->memory->length - offset;
}

- (void)setBuffers:(const id<MTLBuffer>[])buffers
           offsets:(const NSUInteger[])offsets
         withRange:(NSRange)range
{
    for (NSUInteger i = 0; i < range.length; i++)
        if (is_index(self, range.location + i, "setBuffers"))
            set_buffer(self, (SoftBuffer *)buffers[i], offsets[i], range.location + i);
}

- (void)setThreadgroupMemoryLength:(NSUInteger)length atIndex:(NSUInteger)index
{
    if (!is_index(self, index, "setThreadgroupMemoryLength")) return;
    if (length % 16 || length > MOST_THREADGROUP_BYTES) {
        soft_spoil(tape, @"setThreadgroupMemoryLength: %zu bytes at index %zu; a multiple of 16, %d at "
                         @"most, is allowed", (size_t)length, (size_t)index, MOST_THREADGROUP_BYTES);
        return;
    }
    threadgroup[index] = (uint32_t)length;
}

- (void)dispatchThreadgroups:(MTLSize)grid threadsPerThreadgroup:(MTLSize)threads
{
    if (!soft_is_open(self, "dispatchThreadgroups")) return;
    if (!kernel) {
        soft_spoil(tape, @"dispatch: no pipeline is set");
        return;
    }
    uint32_t first;
    if (!soft_is_grid(self, grid, threads) || !soft_take_arguments(self, &first)) return;
    if (type == MTLDispatchTypeSerial) tape->epoch++;
    uint32_t at = TAKE(tape, commands, 1);
    command *c = &tape->commands[at];
    c->kind = COMMAND_DISPATCH;
    c->segment = tape->n_segments - 1;
    c->epoch = tape->epoch;
    c->dispatch.kernel = kernel;
    c->dispatch.grid[0] = (uint32_t)grid.width;
    c->dispatch.grid[1] = (uint32_t)grid.height;
    c->dispatch.grid[2] = (uint32_t)grid.depth;
    c->dispatch.threads[0] = (uint32_t)threads.width;
    c->dispatch.threads[1] = (uint32_t)threads.height;
    c->dispatch.threads[2] = (uint32_t)threads.depth;
    c->dispatch.first_slot = first;
    c->dispatch.n_used = tape->n_used - tape->segments[c->segment].first_used;
    LOG("dispatch", kernel->function->function->name, commands->number, (int64_t)grid.width,
        (int64_t)grid.height, (int64_t)grid.depth, (int64_t)threads.width, (int64_t)threads.height,
        (int64_t)threads.depth, (int64_t)tape->epoch);
}

- (void)dispatchThreads:(MTLSize)all threadsPerThreadgroup:(MTLSize)threads
{
    if (!soft_is_open(self, "dispatchThreads")) return;
    if (!threads.width || !threads.height || !threads.depth || all.width % threads.width ||
        all.height % threads.height || all.depth % threads.depth) {
        soft_spoil(tape, @"dispatchThreads: (%zu, %zu, %zu) threads in threadgroups of (%zu, %zu, %zu); "
                         @"this device has no threadgroups of different sizes",
                   (size_t)all.width, (size_t)all.height, (size_t)all.depth, (size_t)threads.width,
                   (size_t)threads.height, (size_t)threads.depth);
        return;
    }
    [self dispatchThreadgroups:MTLSizeMake(all.width / threads.width, all.height / threads.height,
                                           all.depth / threads.depth)
         threadsPerThreadgroup:threads];
}

static void use(SoftEncoder *e, id<MTLResource> resource)
{
    SoftBuffer *buffer = (SoftBuffer *)resource;
    if (!buffer) {
        soft_spoil(e->tape, @"useResource: nil");
        return;
    }
    soft_refer_buffer(e->commands, buffer);
    PUSH(e->tape, used, buffer->memory);
    LOG("use", NULL, e->commands->number, buffer->memory->number, (int64_t)buffer->memory->length);
}

- (void)useResource:(id<MTLResource>)resource usage:(MTLResourceUsage)usage
{
    if (soft_is_open(self, "useResource")) use(self, resource);
}

- (void)useResources:(const id<MTLResource>[])resources
               count:(NSUInteger)count
               usage:(MTLResourceUsage)usage
{
    if (!soft_is_open(self, "useResources")) return;
    for (NSUInteger i = 0; i < count; i++) use(self, resources[i]);
}

- (void)memoryBarrierWithScope:(MTLBarrierScope)scope
{
    if (!soft_is_open(self, "memoryBarrierWithScope")) return;
    if (scope & MTLBarrierScopeBuffers) tape->epoch++;
    if (scope & MTLBarrierScopeRenderTargets || !scope)
        soft_spoil(tape, @"memoryBarrierWithScope: scope %d in a compute encoder", (int)scope);
    LOG("barrier", NULL, commands->number, (int64_t)tape->epoch);
}

/* Taken as a barrier for all buffers. */
- (void)memoryBarrierWithResources:(const id<MTLResource>[])resources count:(NSUInteger)count
{
    if (!soft_is_open(self, "memoryBarrierWithResources")) return;
    for (NSUInteger i = 0; i < count; i++)
        if (!resources[i]) soft_spoil(tape, @"memoryBarrierWithResources: nil");
    if (count) tape->epoch++;
    LOG("barrier", NULL, commands->number, (int64_t)tape->epoch);
}

- (void)sampleCountersInBuffer:(id<MTLCounterSampleBuffer>)sampleBuffer
                 atSampleIndex:(NSUInteger)sampleIndex
                   withBarrier:(BOOL)barrier
{
    SoftCounters *counters = (SoftCounters *)sampleBuffer;
    if (!soft_is_open(self, "sampleCountersInBuffer")) return;
    if (!soft_set.samples_dispatches || !counters || sampleIndex >= counters->count) {
        soft_spoil(tape, !soft_set.samples_dispatches
                             ? @"sampleCountersInBuffer: this GPU samples at the borders of encoders only"
                             : @"sampleCountersInBuffer: there is no sample %zu", (size_t)sampleIndex);
        return;
    }
    if (barrier) tape->epoch++;
    soft_hold(tape, counters);
    PUSH(tape, commands, (command){
        .kind = COMMAND_SAMPLE, .segment = tape->n_segments - 1, .epoch = tape->epoch,
        .sample = {counters, sampleIndex}});
}

@end
