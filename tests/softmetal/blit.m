/* The blit encoder: copies and fills of buffers, one after the other. */
#include "objects.h"

@implementation SoftBlit
@dynamic label, device; /* SoftObject has them */

static int is_inside(SoftBlit *b, SoftBuffer *buffer, NSUInteger at, NSUInteger size,
                     const char *method)
{
    if (buffer && size && at <= buffer->memory->length && size <= buffer->memory->length - at)
        return 1;
    soft_spoil(b->tape, @"%s: %zu bytes from %zu of %s (%zu bytes)", method, (size_t)size, (size_t)at,
               buffer ? buffer->memory->label : "nil", buffer ? buffer->memory->length : 0);
    return 0;
}

- (void)copyFromBuffer:(id<MTLBuffer>)source
          sourceOffset:(NSUInteger)from
              toBuffer:(id<MTLBuffer>)destination
     destinationOffset:(NSUInteger)to
                  size:(NSUInteger)size
{
    SoftBuffer *a = (SoftBuffer *)source, *b = (SoftBuffer *)destination;
    if (!soft_is_open(self, "copyFromBuffer") || !is_inside(self, a, from, size, "copyFromBuffer") ||
        !is_inside(self, b, to, size, "copyFromBuffer"))
        return;
    if ((from | to | size) % 4) {
        soft_spoil(tape, @"copyFromBuffer: offsets %zu and %zu and size %zu have to be multiples of 4",
                   (size_t)from, (size_t)to, (size_t)size);
        return;
    }
    if (a == b && from < to + size && to < from + size) {
        soft_spoil(tape, @"copyFromBuffer: source and destination overlap");
        return;
    }
    soft_refer_buffer(commands, a);
    soft_refer_buffer(commands, b);
    PUSH(tape, commands, (command){
        .kind = COMMAND_COPY, .segment = tape->n_segments - 1, .epoch = ++tape->epoch,
        .copy = {a->memory, b->memory, from, to, size}});
    LOG("copy", NULL, commands->number, a->memory->number, (int64_t)from, b->memory->number,
        (int64_t)to, (int64_t)size);
}

- (void)fillBuffer:(id<MTLBuffer>)buffer range:(NSRange)range value:(uint8_t)value
{
    SoftBuffer *b = (SoftBuffer *)buffer;
    if (!soft_is_open(self, "fillBuffer") ||
        !is_inside(self, b, range.location, range.length, "fillBuffer"))
        return;
    if ((range.location | range.length) % 4) {
        soft_spoil(tape, @"fillBuffer: offset %zu and length %zu have to be multiples of 4",
                   (size_t)range.location, (size_t)range.length);
        return;
    }
    soft_refer_buffer(commands, b);
    PUSH(tape, commands, (command){
        .kind = COMMAND_FILL, .segment = tape->n_segments - 1, .epoch = ++tape->epoch,
        .copy = {NULL, b->memory, value, range.location, range.length}});
    LOG("fill", NULL, commands->number, b->memory->number, (int64_t)range.location,
        (int64_t)range.length, value);
}

@end
