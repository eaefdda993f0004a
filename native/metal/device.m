/* The GPU: what it must be able to do, its queue, its buffers. */
#include <stdarg.h>
#include <unistd.h>

#include "metal/internal.h"

void set_error(metal_error *error, NSString *format, ...)
{
    if (!error) return;
    va_list arguments;
    va_start(arguments, format);
    NSString *text = [[NSString alloc] initWithFormat:format arguments:arguments];
    va_end(arguments);
    snprintf(error->text, sizeof error->text, "%s", [text UTF8String]);
    [text release];
}

int is_forked(metal_error *error)
{
    static pid_t user;
    if (!user) user = getpid();
    if (user == getpid()) return 0;
    /* without Objective-C, which may not be touched any more */
    if (error)
        snprintf(error->text, sizeof error->text,
                 "Metal does not work in a process made by fork from one that used it; start the "
                 "process by multiprocessing's \"spawn\"");
    return 1;
}

/* The newest family of Apple GPUs this one belongs to; 0: none that smelt knows. */
static int apple_family(id<MTLDevice> gpu)
{
    for (int family = 9; family >= 7; family--)
        if ([gpu supportsFamily:(MTLGPUFamily)(MTLGPUFamilyApple1 + family - 1)]) return family;
    return 0;
}

/* simdgroup matrices came with family 7 (M1), addresses in buffers with Metal 3 (macOS 13). */
static int is_capable(id<MTLDevice> gpu, metal_error *error)
{
    if (!apple_family(gpu)) {
        set_error(error, @"%@ is no Apple GPU of family 7 (M1) or later; use device=\"cpu\"",
                  [gpu name]);
        return 0;
    }
    if (@available(macOS 13.0, *))
        if ([gpu supportsFamily:MTLGPUFamilyMetal3]) return 1;
    set_error(error, @"%@ has no Metal 3, which macOS 13 brings; use device=\"cpu\"", [gpu name]);
    return 0;
}

#ifdef HAVE_RESIDENCY_SETS
/* One set for all buffers of the device: they stay resident without being named in every step. */
static id new_residency_set(id<MTLDevice> gpu, id<MTLCommandQueue> queue)
{
    if (@available(macOS 15.0, *)) {
        MTLResidencySetDescriptor *descriptor = [[MTLResidencySetDescriptor alloc] init];
        [descriptor setInitialCapacity:64];
        id<MTLResidencySet> set = [gpu newResidencySetWithDescriptor:descriptor error:NULL];
        [descriptor release];
        if (set) [queue addResidencySet:set];
        return set;
    }
    return nil;
}
#endif

metal_device *metal_device_open(const char *metallib, const char *source, metal_error *error)
{
    if (is_forked(error)) return NULL;
    @autoreleasepool {
        id<MTLDevice> gpu = MTLCreateSystemDefaultDevice();
        if (!gpu) {
            set_error(error, @"this machine has no GPU that Metal can use");
            return NULL;
        }
        id<MTLLibrary> library =
            is_capable(gpu, error) ? load_library(gpu, metallib, source, error) : nil;
        metal_device *device = library ? calloc(1, sizeof *device) : NULL;
        if (library && !device) set_error(error, @"out of memory for a device");
        if (!device) {
            [library release];
            [gpu release];
            return NULL;
        }
        device->gpu = gpu;
        device->library = library;
        device->from_source = metallib == NULL;
        device->queue = [gpu newCommandQueue];
#ifdef HAVE_RESIDENCY_SETS
        device->residency = new_residency_set(gpu, device->queue);
#endif
        return device;
    }
}

void metal_device_close(metal_device *device)
{
    if (!device || is_forked(NULL)) return;
    @autoreleasepool {
        drop_pipelines(device);
#ifdef HAVE_RESIDENCY_SETS
        if (@available(macOS 15.0, *)) {
            [device->residency endResidency];
            [device->residency release];
        }
#endif
        [device->queue release];
        [device->library release];
        [device->gpu release];
    }
    free(device);
}

void metal_device_info(const metal_device *device, metal_info *info)
{
    memset(info, 0, sizeof *info);
    @autoreleasepool {
        id<MTLDevice> gpu = device->gpu;
        snprintf(info->name, sizeof info->name, "%s", [[gpu name] UTF8String]);
        info->max_buffer_bytes = (int64_t)[gpu maxBufferLength];
        info->working_set_bytes = (int64_t)[gpu recommendedMaxWorkingSetSize];
        info->allocated_bytes = (int64_t)[gpu currentAllocatedSize];
        info->apple_family = apple_family(gpu);
        info->from_source = device->from_source;
#ifdef HAVE_RESIDENCY_SETS
        info->residency_sets = device->residency != nil;
#endif
    }
}

static void make_resident(metal_device *device, id<MTLBuffer> buffer)
{
#ifdef HAVE_RESIDENCY_SETS
    if (@available(macOS 15.0, *)) {
        [device->residency addAllocation:buffer];
        [device->residency commit];
        [device->residency requestResidency];
    }
#else
    (void)device;
    (void)buffer;
#endif
}

id<MTLBuffer> new_buffer(metal_device *device, size_t length, MTLResourceOptions options,
                         const char *what, metal_error *error)
{
    id<MTLBuffer> buffer = nil;
    if (length <= [device->gpu maxBufferLength])
        buffer = [device->gpu newBufferWithLength:length ? length : 4 options:options];
    if (!buffer) {
        set_error(error, @"no memory on %@ for %s: %.1f MiB", [device->gpu name], what,
                  (double)length / 1048576);
        return nil;
    }
    make_resident(device, buffer);
    return buffer;
}

void drop_buffer(metal_device *device, id<MTLBuffer> *buffer)
{
    if (!*buffer) return;
#ifdef HAVE_RESIDENCY_SETS
    if (@available(macOS 15.0, *)) {
        [device->residency removeAllocation:*buffer];
        [device->residency commit];
    }
#else
    (void)device;
#endif
    [*buffer release];
    *buffer = nil;
}

static metal_buffer *wrap(metal_device *device, id<MTLBuffer> buffer, metal_error *error)
{
    metal_buffer *wrapped = calloc(1, sizeof *wrapped);
    if (!wrapped) {
        set_error(error, @"out of memory for a buffer");
        [buffer release];
        return NULL;
    }
    wrapped->device = device;
    wrapped->buffer = buffer;
    make_resident(device, buffer);
    return wrapped;
}

metal_buffer *metal_buffer_map(metal_device *device, void *address, size_t length,
                               metal_error *error)
{
    @autoreleasepool {
        id<MTLBuffer> buffer = [device->gpu newBufferWithBytesNoCopy:address
                                                              length:length
                                                             options:MTLResourceStorageModeShared
                                                         deallocator:nil];
        if ([buffer length] >= length) return wrap(device, buffer, error);
        [buffer release]; /* virtual machines give one of no bytes */
        set_error(error, @"%@ refuses %.1f MiB of mapped memory", [device->gpu name],
                  (double)length / 1048576);
        return NULL;
    }
}

metal_buffer *metal_buffer_copy(metal_device *device, const void *data, size_t length,
                                metal_error *error)
{
    @autoreleasepool {
        id<MTLBuffer> buffer = nil;
        if (length <= [device->gpu maxBufferLength])
            buffer = [device->gpu newBufferWithBytes:data
                                              length:length
                                             options:MTLResourceStorageModeShared];
        if (buffer) return wrap(device, buffer, error);
        set_error(error, @"no memory on %@ for %.1f MiB of weights", [device->gpu name],
                  (double)length / 1048576);
        return NULL;
    }
}

void metal_buffer_release(metal_buffer *buffer)
{
    if (!buffer || is_forked(NULL)) return;
    @autoreleasepool {
        drop_buffer(buffer->device, &buffer->buffer);
    }
    free(buffer);
}
