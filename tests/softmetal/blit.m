/* The blit encoder: copies and fills of buffers, one after the other. */
#include "objects.h"

@implementation SoftBlit

- (id)initWithCommands:(SoftCommands *)owner
{
    if (!(self = [super init])) return nil;
    commands = [owner retain];
    tape = owner->tape;
    soft_begin_segment(owner, self, 1);
    soft_count(self, 1);
    LOG("encoder", "blit", owner->number);
    return self;
}

- (void)dealloc
{
    if (tape) {
        soft_spoil(tape, @"a blit encoder is released before endEncoding");
        [self softAbandon];
    }
    [label release];
    [commands release];
    soft_count(self, -1);
    [super dealloc];
}

- (NSString *)label { return [[label retain] autorelease]; }
- (void)setLabel:(NSString *)text
{
    [label autorelease];
    label = [text copy];
}
- (id<MTLDevice>)device { return commands->queue->device; }

- (void)softAbandon
{
    soft_end_segment(commands, label, 0);
    tape = NULL;
}

static int is_open(SoftBlit *b, const char *method)
{
    if (b->tape) return 1;
    soft_fault(@"%s: the encoder has ended", method);
    return 0;
}

static int is_inside(SoftBlit *b, SoftBuffer *buffer, NSUInteger at, NSUInteger size,
                     const char *method)
{
    if (buffer && size && at <= buffer->memory->length && size <= buffer->memory->length - at)
        return 1;
    soft_spoil(b->tape, @"%s: %zu bytes from %zu of %s (%zu bytes)", method, (size_t)size, (size_t)at,
               buffer ? buffer->memory->label : "nil", buffer ? buffer->memory->length : 0);
    return 0;
}

- (void)endEncoding
{
    if (!is_open(self, "endEncoding")) return;
    soft_end_segment(commands, label, depth);
    LOG("end", NULL, commands->number);
    tape = NULL;
}

- (void)copyFromBuffer:(id<MTLBuffer>)source
          sourceOffset:(NSUInteger)from
              toBuffer:(id<MTLBuffer>)destination
     destinationOffset:(NSUInteger)to
                  size:(NSUInteger)size
{
    SoftBuffer *a = (SoftBuffer *)source, *b = (SoftBuffer *)destination;
    if (!is_open(self, "copyFromBuffer") || !is_inside(self, a, from, size, "copyFromBuffer") ||
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
    if (!is_open(self, "fillBuffer") ||
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

- (void)insertDebugSignpost:(NSString *)string
{
    if (is_open(self, "insertDebugSignpost")) soft_signpost(tape, string);
}

- (void)pushDebugGroup:(NSString *)string
{
    if (!is_open(self, "pushDebugGroup")) return;
    depth++;
    soft_signpost(tape, string);
}

- (void)popDebugGroup
{
    if (!is_open(self, "popDebugGroup")) return;
    if (--depth >= 0) return;
    depth = 0;
    soft_spoil(tape, @"popDebugGroup: no group was pushed");
}

@end
