/* What the device's objects have in common, and its encoders. */
#include "objects.h"

@implementation SoftObject

- (id)initWithDevice:(SoftDevice *)owner
{
    if (!(self = [super init])) return nil;
    device = [owner retain];
    soft_count(self, 1);
    return self;
}

- (void)dealloc
{
    [label release];
    [device release];
    soft_count(self, -1);
    [super dealloc];
}

- (NSString *)label { return [[label retain] autorelease]; }

- (void)setLabel:(NSString *)text
{
    [label autorelease];
    label = [text copy];
}

- (id<MTLDevice>)device { return device; }

@end

int soft_is_open(const SoftSegment *encoder, const char *method)
{
    if (encoder->tape) return 1;
    soft_fault(@"%s: the encoder has ended", method);
    return 0;
}

@implementation SoftSegment
@dynamic label, device; /* SoftObject has them */

- (id)initWithCommands:(SoftCommands *)owner
{
    if (!(self = [super initWithDevice:owner->device])) return nil;
    commands = [owner retain];
    tape = owner->tape;
    owner->encoder = self;
    PUSH(tape, segments, (segment){.first_command = tape->n_commands, .first_used = tape->n_used});
    tape->epoch++; /* Metal separates encoders by itself */
    return self;
}

- (void)dealloc
{
    if (tape) {
        soft_spoil(tape, @"an encoder is released before endEncoding");
        [self softAbandon];
    }
    [commands release];
    [super dealloc];
}

- (void)softAbandon
{
    segment *s = &tape->segments[tape->n_segments - 1];
    s->n_commands = tape->n_commands - s->first_command;
    snprintf(s->label, sizeof s->label, "%s", label ? [label UTF8String] : "");
    commands->encoder = nil;
    tape = NULL;
}

- (void)endEncoding
{
    if (!soft_is_open(self, "endEncoding")) return;
    if (depth) soft_spoil(tape, @"endEncoding: %d debug groups were pushed and not popped", depth);
    [self softAbandon];
    LOG("end", NULL, commands->number);
}

- (void)insertDebugSignpost:(NSString *)string
{
    if (!soft_is_open(self, "insertDebugSignpost")) return;
    segment *s = &tape->segments[tape->n_segments - 1];
    if (!s->signposts) {
        s->signposts = [NSMutableArray array];
        soft_hold(tape, s->signposts);
    }
    [(NSMutableArray *)s->signposts addObject:string];
}

- (void)pushDebugGroup:(NSString *)string
{
    if (!soft_is_open(self, "pushDebugGroup")) return;
    depth++;
    [self insertDebugSignpost:string];
}

- (void)popDebugGroup
{
    if (!soft_is_open(self, "popDebugGroup")) return;
    if (--depth >= 0) return;
    depth = 0;
    soft_spoil(tape, @"popDebugGroup: no group was pushed");
}

@end
