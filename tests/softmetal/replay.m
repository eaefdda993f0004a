/* Runs what a command buffer recorded.
 *
 * Dispatches with no barrier between them may run in any order on a GPU: here they run one by one in
 * an order drawn from the seed, so that a host that relies on the order it encoded is found out.
 */
#include <unistd.h>

#include "objects.h"

static pthread_mutex_t gpu = PTHREAD_MUTEX_INITIALIZER; /* one executor for all queues */
static uint64_t next_epoch = 1, next_dispatch = 1;      /* under `gpu` */

typedef struct {
    SoftCommands *commands;
    soft_tape *tape;
    msl_range *ranges; /* resident: first what the sets have, then what the segment uses */
    int n_sets, n_ranges;
    int failing;       /* planned: dispatches left until then, or -1 */
    uint64_t random;
    uint32_t segment;  /* being run */
    NSError *error;
} replay;

static uint64_t draw(replay *r) /* splitmix64 */
{
    uint64_t z = r->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void add_ranges(replay *r, NSArray *sets)
{
    for (SoftResidency *set in sets)
        @synchronized(set) {
            r->ranges = realloc(r->ranges, ((size_t)r->n_sets + [set->committed count]) * sizeof *r->ranges);
            for (SoftBuffer *buffer in set->committed)
                r->ranges[r->n_sets++] = (msl_range){buffer->memory->address, buffer->memory->length};
        }
}

static void find_resident(replay *r)
{
    NSMutableArray *sets = r->commands->queue->residency;
    @synchronized(sets) {
        add_ranges(r, sets);
    }
    add_ranges(r, r->commands->residency);
    r->ranges = realloc(r->ranges, ((size_t)r->n_sets + r->tape->n_used + 1) * sizeof *r->ranges);
}

static void fail(replay *r, NSInteger code, const char *text)
{
    r->error = soft_error(MTLCommandBufferErrorDomain, code, @"%s", text);
}

static int is_alive(replay *r, const soft_memory *m)
{
    char text[256];
    if (!m || m->alive) return 1;
    snprintf(text, sizeof text, "Invalid Resource: %s was released before the GPU came to it", m->label);
    fail(r, MTLCommandBufferErrorInvalidResource, text);
    return 0;
}

static int fill_dispatch(replay *r, const command *c, msl_dispatch *d)
{
    const soft_kernel *k = c->dispatch.kernel;
    memset(d, 0, sizeof *d);
    d->function = k->function->function;
    d->constants = &k->function->constants;
    for (int i = 0; i < k->n_arguments; i++) {
        const kernel_argument *a = &k->arguments[i];
        const slot *s = &r->tape->slots[c->dispatch.first_slot + (uint32_t)i];
        if (!is_alive(r, s->memory)) return 0;
        if (a->kind == MSL_THREADGROUP)
            d->threadgroup_bytes[a->index] = s->length;
        else
            d->buffers[a->index] = (msl_binding){
                (s->memory ? (char *)s->memory->address : r->tape->bytes) + s->offset, s->length};
    }
    memcpy(d->threadgroups, c->dispatch.grid, sizeof d->threadgroups);
    memcpy(d->threads, c->dispatch.threads, sizeof d->threads);
    d->resident = r->ranges;
    d->n_resident = r->n_sets + (int)c->dispatch.n_used;
    d->epoch = next_epoch + c->epoch;
    d->dispatch = next_dispatch++;
    return 1;
}

static void run_dispatch(replay *r, const command *c)
{
    msl_dispatch d;
    msl_fault fault;
    if (r->failing == 0) {
        fail(r, soft_set.failure_code, "planned by softmetal_fail_commands");
        return;
    }
    if (!strcmp(soft_set.failing_kernel, c->dispatch.kernel->function->function->name)) {
        fail(r, soft_set.kernel_failure_code, "planned by softmetal_fail_kernel");
        return;
    }
    if (r->failing > 0) r->failing--;
    if (!fill_dispatch(r, c, &d) || !soft_set.kernels) return;
    const int workers = soft_set.workers > 0 ? soft_set.workers : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (!msl_execute(c->dispatch.kernel->function->library->library, &d, workers, &fault)) return;
    char text[sizeof fault.text + 64];
    snprintf(text, sizeof text, "%s (seed %llu)", fault.text, (unsigned long long)soft_set.seed);
    soft_note_fault(text);
    fail(r, MTLCommandBufferErrorPageFault, text);
}

static void run_copy(replay *r, const command *c)
{
    if (!is_alive(r, c->copy.from) || !is_alive(r, c->copy.to)) return;
    char *to = (char *)c->copy.to->address + c->copy.to_offset;
    if (c->kind == COMMAND_FILL)
        memset(to, (int)c->copy.from_offset, c->copy.size);
    else
        memcpy(to, (char *)c->copy.from->address + c->copy.from_offset, c->copy.size);
}

static void sample(void *counters, size_t index)
{
    if (counters) ((SoftCounters *)counters)->stamps[index] = soft_set.stamps ? soft_ticks() : 0;
}

static void run_command(replay *r, const command *c)
{
    switch (c->kind) {
    case COMMAND_DISPATCH: run_dispatch(r, c); break;
    case COMMAND_SAMPLE: sample(c->sample.counters, c->sample.index); break;
    default: run_copy(r, c); break;
    }
}

/* The dispatches [first, end), which nothing orders. */
static void run_unordered(replay *r, uint32_t first, uint32_t end)
{
    command *c = r->tape->commands;
    for (uint32_t i = first; i < end && !r->error; i++) {
        uint32_t chosen = i + (uint32_t)(draw(r) % (end - i));
        command next = c[chosen];
        c[chosen] = c[i];
        c[i] = next;
        run_command(r, &next);
    }
}

static void run_segment(replay *r, const segment *s)
{
    const command *c = r->tape->commands;
    const uint32_t end = s->first_command + s->n_commands;
    for (uint32_t i = 0; i < r->tape->n_used - s->first_used; i++) {
        const soft_memory *m = r->tape->used[s->first_used + i];
        r->ranges[r->n_sets + (int)i] = (msl_range){m->address, m->alive ? m->length : 0};
    }
    sample(s->counters[0], s->stamps[0]);
    for (uint32_t i = s->first_command; i < end && !r->error;) {
        uint32_t last = i + 1;
        while (last < end && c[i].kind == COMMAND_DISPATCH && c[last].kind == COMMAND_DISPATCH &&
               c[last].epoch == c[i].epoch)
            last++;
        run_unordered(r, i, last);
        i = last;
    }
    if (!r->error) sample(s->counters[1], s->stamps[1]);
}

/* Of each encoder, for MTLCommandBufferErrorOptionEncoderExecutionStatus. */
@interface SoftEncoderInfo : NSObject <MTLCommandBufferEncoderInfo> {
  @public
    NSString *label;
    NSArray *signposts;
    MTLCommandEncoderErrorState state;
}
@end

@implementation SoftEncoderInfo
- (void)dealloc
{
    [label release];
    [signposts release];
    [super dealloc];
}
- (NSString *)label { return label; }
- (NSArray *)debugSignposts { return signposts; }
- (MTLCommandEncoderErrorState)errorState { return state; }
@end

static NSError *with_encoders(const replay *r)
{
    NSMutableArray *infos = [NSMutableArray array];
    NSMutableDictionary *more = [NSMutableDictionary dictionaryWithDictionary:[r->error userInfo]];
    for (uint32_t i = 0; i < r->tape->n_segments; i++) {
        const segment *s = &r->tape->segments[i];
        SoftEncoderInfo *info = [[[SoftEncoderInfo alloc] init] autorelease];
        info->label = [[NSString alloc] initWithUTF8String:s->label];
        info->signposts = s->signposts ? [(NSArray *)s->signposts copy] : [[NSArray alloc] init];
        info->state = i < r->segment    ? MTLCommandEncoderErrorStateCompleted
                      : i == r->segment ? MTLCommandEncoderErrorStateFaulted
                                        : MTLCommandEncoderErrorStatePending;
        [infos addObject:info];
    }
    [more setObject:infos forKey:MTLCommandBufferEncoderInfoErrorKey];
    return [NSError errorWithDomain:[r->error domain] code:[r->error code] userInfo:more];
}

NSError *soft_replay(SoftCommands *commands)
{
    replay r = {.commands = commands, .tape = commands->tape, .failing = -1};
    pthread_mutex_lock(&gpu);
    if (soft_is_planned(&soft_set.fail_commands)) r.failing = soft_set.failure_dispatches;
    r.random = soft_set.seed ^ (uint64_t)commands->number * 0xd1342543de82ef95u;
    if (r.tape->fault[0]) fail(&r, MTLCommandBufferErrorInvalidResource, r.tape->fault);
    find_resident(&r);
    for (r.segment = 0; r.segment < r.tape->n_segments && !r.error; r.segment++) {
        run_segment(&r, &r.tape->segments[r.segment]);
        if (r.error) break;
    }
    if (!r.error && r.failing >= 0) fail(&r, soft_set.failure_code, "planned by softmetal_fail_commands");
    next_epoch += r.tape->epoch + 1;
    pthread_mutex_unlock(&gpu);
    free(r.ranges);
    return r.error && commands->options & MTLCommandBufferErrorOptionEncoderExecutionStatus
               ? with_encoders(&r)
               : r.error;
}
