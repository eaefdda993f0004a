/* Buffers. */
#include <unistd.h>

#include "objects.h"

void soft_drop_memory(soft_memory *m)
{
    if (--m->references) return;
    if (m->is_ours) msl_free(m->address, m->length);
    free(m);
}

static soft_memory *new_memory(void *address, size_t length, int is_ours)
{
    static _Atomic int64_t number;
    soft_memory *m = calloc(1, sizeof *m);
    if (!m) abort();
    m->references = 1;
    m->alive = 1;
    m->address = address;
    m->length = length;
    m->is_ours = is_ours;
    m->number = ++number;
    snprintf(m->label, sizeof m->label, "buffer %lld", (long long)m->number);
    return m;
}

@implementation SoftBuffer
@dynamic label, device; /* SoftObject has them */

- (id)initWithMemory:(struct soft_memory *)m
              device:(SoftDevice *)owner
             options:(MTLResourceOptions)wanted
         deallocator:(void (^)(void *, NSUInteger))block
{
    if (!(self = [super initWithDevice:owner])) return nil;
    memory = m;
    options = wanted;
    deallocator = block ? Block_copy(block) : NULL;
    device->allocated += m->length;
    return self;
}

- (void)dealloc
{
    if (memory->in_flight)
        soft_fault(@"%s (%zu bytes) is released while the GPU uses it: its command buffer has "
                   @"unretained references and is not completed",
                   memory->label, memory->length);
    else if (memory->references > 1) /* by a tape that does not retain it */
        soft_fault(@"%s (%zu bytes) is released while a command buffer with unretained references "
                   @"that is not committed refers to it", memory->label, memory->length);
    LOG("buffer_freed", NULL, memory->number, (int64_t)memory->length);
    device->allocated -= memory->length;
    if (deallocator) {
        deallocator(memory->address, memory->length);
        Block_release(deallocator);
    }
    memory->alive = 0;
    soft_drop_memory(memory);
    [super dealloc];
}

- (void)setLabel:(NSString *)text
{
    [super setLabel:text];
    snprintf(memory->label, sizeof memory->label, "buffer %lld \"%s\"", (long long)memory->number,
             [text UTF8String]);
}

- (NSUInteger)length { return memory->length; }
- (NSUInteger)allocatedSize { return memory->length; }
- (uint64_t)gpuAddress { return (uint64_t)(uintptr_t)memory->address; }
- (MTLResourceOptions)resourceOptions { return options; }

- (MTLStorageMode)storageMode
{
    return (MTLStorageMode)((options & MTLResourceStorageModeMask) >> MTLResourceStorageModeShift);
}

- (MTLCPUCacheMode)cpuCacheMode
{
    return (MTLCPUCacheMode)((options & MTLResourceCPUCacheModeMask) >> MTLResourceCPUCacheModeShift);
}

- (MTLHazardTrackingMode)hazardTrackingMode
{
    NSUInteger mode =
        (options & MTLResourceHazardTrackingModeMask) >> MTLResourceHazardTrackingModeShift;
    return mode ? (MTLHazardTrackingMode)mode : MTLHazardTrackingModeTracked;
}

- (void *)contents
{
    return [self storageMode] == MTLStorageModePrivate ? NULL : memory->address;
}

@end

/* Whether Metal would try to make it; misuse is a fault. */
static int is_reasonable(NSUInteger length, MTLResourceOptions options, const char *method)
{
    NSUInteger storage = (options & MTLResourceStorageModeMask) >> MTLResourceStorageModeShift;
    if (!length) {
        soft_fault(@"%s: a buffer of no bytes", method);
        return 0;
    }
    if (length > soft_set.buffer_length) {
        soft_fault(@"%s: %zu bytes are more than maxBufferLength, %llu", method, (size_t)length,
                   (unsigned long long)soft_set.buffer_length);
        return 0;
    }
    if (storage > MTLStorageModePrivate) {
        soft_fault(@"%s: storage mode %zu is not for buffers", method, (size_t)storage);
        return 0;
    }
    return 1;
}

/* Out of memory, as planned or as limited? */
static int is_refused(SoftDevice *device, NSUInteger length)
{
    return soft_is_planned(&soft_set.fail_allocation) ||
           device->allocated + length > soft_set.memory;
}

static void log_buffer(SoftBuffer *buffer, int copied)
{
    LOG("buffer", NULL, buffer->memory->number, (int64_t)buffer->memory->length,
        (int64_t)[buffer storageMode], copied);
}

SoftBuffer *soft_new_buffer(SoftDevice *device, NSUInteger length, MTLResourceOptions options,
                            const void *bytes)
{
    const char *method = bytes ? "newBufferWithBytes" : "newBufferWithLength";
    if (!is_reasonable(length, options, method) || is_refused(device, length)) return nil;
    void *address = msl_allocate(length);
    if (!address) return nil;
    SoftBuffer *buffer = [[SoftBuffer alloc] initWithMemory:new_memory(address, length, 1)
                                                     device:device
                                                    options:options
                                                deallocator:nil];
    if (bytes)
        memcpy(address, bytes, length);
    else if (soft_set.poison)
        memset(address, 0xff, length);
    log_buffer(buffer, bytes != NULL);
    return buffer;
}

SoftBuffer *soft_wrap_buffer(SoftDevice *device, void *pointer, NSUInteger length,
                             MTLResourceOptions options, void (^deallocator)(void *, NSUInteger))
{
    const char *method = "newBufferWithBytesNoCopy";
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!is_reasonable(length, options, method)) return nil;
    if (!pointer || (uintptr_t)pointer % page || length % page) {
        soft_fault(@"%s: the address %p and the length %zu have to be multiples of the page size, %zu",
                   method, pointer, (size_t)length, page);
        return nil;
    }
    if ((options & MTLResourceStorageModeMask) == MTLResourceStorageModePrivate) {
        soft_fault(@"%s: the storage mode cannot be private", method);
        return nil;
    }
    if (soft_set.refuse_no_copy || is_refused(device, 0)) return nil;
    SoftBuffer *buffer = [[SoftBuffer alloc] initWithMemory:new_memory(pointer, length, 0)
                                                     device:device
                                                    options:options
                                                deallocator:deallocator];
    log_buffer(buffer, 0);
    return buffer;
}
