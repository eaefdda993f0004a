/* Residency sets. */
#include "objects.h"

@implementation SoftResidency
@dynamic label, device; /* SoftObject has them */

- (id)initWithDevice:(SoftDevice *)owner
{
    if (!(self = [super initWithDevice:owner])) return nil;
    allocations = [[NSMutableArray alloc] init];
    committed = [[NSArray alloc] init];
    return self;
}

- (void)dealloc
{
    [committed release];
    [allocations release];
    [super dealloc];
}

- (void)requestResidency { }
- (void)endResidency { }

- (uint64_t)allocatedSize
{
    uint64_t size = 0;
    @synchronized(self) {
        for (id<MTLAllocation> allocation in committed) size += [allocation allocatedSize];
    }
    return size;
}

- (NSArray *)allAllocations
{
    @synchronized(self) {
        return [[allocations copy] autorelease];
    }
}

- (NSUInteger)allocationCount
{
    @synchronized(self) {
        return [allocations count];
    }
}

- (BOOL)containsAllocation:(id<MTLAllocation>)allocation
{
    @synchronized(self) {
        return [allocations indexOfObjectIdenticalTo:allocation] != NSNotFound;
    }
}

- (void)addAllocation:(id<MTLAllocation>)allocation
{
    if (!allocation) {
        soft_fault(@"addAllocation: nil");
        return;
    }
    @synchronized(self) {
        if (![self containsAllocation:allocation]) [allocations addObject:allocation];
    }
}

- (void)addAllocations:(const id<MTLAllocation>[])all count:(NSUInteger)count
{
    for (NSUInteger i = 0; i < count; i++) [self addAllocation:all[i]];
}

- (void)removeAllocation:(id<MTLAllocation>)allocation
{
    @synchronized(self) {
        [allocations removeObjectIdenticalTo:allocation];
    }
}

- (void)removeAllocations:(const id<MTLAllocation>[])all count:(NSUInteger)count
{
    for (NSUInteger i = 0; i < count; i++) [self removeAllocation:all[i]];
}

- (void)removeAllAllocations
{
    @synchronized(self) {
        [allocations removeAllObjects];
    }
}

- (void)commit
{
    @synchronized(self) {
        [committed release];
        committed = [allocations copy];
        LOG("residency", NULL, (int64_t)[committed count]);
    }
}

@end
