/* The encoder: walks a program's dispatches into one concurrent compute encoder.
 *
 * The planner's barriers separate ops (graph/placement.py); the few inside an op, and those that
 * protect scratch memory, are known here. A dispatch costs the host a handful of messages: what is
 * bound already is not bound again, and arguments lie ready in one buffer.
 */
#include "metal/plan.h"

enum { BOUND_INDICES = BUFFER_OP + MOST_BINDINGS };

typedef struct {
    metal_program *program;
    id<MTLComputeCommandEncoder> encoder;
    id<MTLBuffer> sources[SOURCES];
    id<MTLComputePipelineState> state;
    struct {
        id<MTLBuffer> buffer;
        uint64_t offset;
    } bound[BOUND_INDICES];
    int pending; /* an op that must wait has begun, and no dispatch of it is encoded yet */
    int busy;    /* scratch that dispatches since the last barrier use */
    int dispatches, barriers;
} walk;

static void bind_buffer(walk *w, int index, id<MTLBuffer> buffer, uint64_t offset)
{
    if (w->bound[index].buffer != buffer)
        [w->encoder setBuffer:buffer offset:offset atIndex:(NSUInteger)index];
    else if (w->bound[index].offset != offset)
        [w->encoder setBufferOffset:offset atIndex:(NSUInteger)index];
    w->bound[index].buffer = buffer;
    w->bound[index].offset = offset;
}

static void wait_for_earlier(walk *w, const dispatch *d)
{
    if (w->pending || d->waits || (d->writes & w->busy)) {
        if (w->dispatches) {
            [w->encoder memoryBarrierWithScope:MTLBarrierScopeBuffers];
            w->barriers++;
        }
        w->pending = w->busy = 0;
    }
    w->busy |= d->reads | d->writes;
}

/* Whether a step runs a dispatch, and its threadgroups. */
static int is_wanted(const dispatch *d, const step_counts *counts, MTLSize *grid)
{
    int32_t n = counts->n[d->guard];
    if (n < d->least || n > d->most) return 0;
    grid->width = (NSUInteger)(d->grid[0] * counts->n[d->per[0]]);
    grid->height = (NSUInteger)(d->grid[1] * counts->n[d->per[1]]);
    grid->depth = (NSUInteger)(d->grid[2] * counts->n[d->per[2]]);
    return grid->width && grid->height && grid->depth;
}

static void encode_dispatch(walk *w, const dispatch *d, MTLSize grid)
{
    wait_for_earlier(w, d);
    if (w->state != d->state) [w->encoder setComputePipelineState:d->state];
    w->state = d->state;
    bind_buffer(w, BUFFER_ARGS, w->program->arguments, d->arguments);
    for (int i = 0; i < d->n_bindings; i++) {
        const binding *b = &d->bindings[i];
        bind_buffer(w, b->index, b->source == SOURCE_FIXED ? b->buffer : w->sources[b->source], b->offset);
    }
    [w->encoder dispatchThreadgroups:grid
               threadsPerThreadgroup:MTLSizeMake((NSUInteger)d->threads, 1, 1)];
    w->dispatches++;
}

/* Pages are reached through addresses, so they are named here, unless a residency set has them. */
static void use_pages(const metal_program *p, const metal_kv *kv,
                      id<MTLComputeCommandEncoder> encoder)
{
#ifdef HAVE_RESIDENCY_SETS
    if (p->device->residency) return;
#endif
    (void)p;
    if (kv->n_slabs)
        [encoder useResources:(const id<MTLResource> *)kv->slabs
                        count:(NSUInteger)kv->n_slabs
                        usage:MTLResourceUsageRead | MTLResourceUsageWrite];
}

int encode_step(metal_program *p, const metal_kv *kv, const step_counts *counts,
                id<MTLComputeCommandEncoder> encoder, int only, metal_error *error)
{
    walk w = {.program = p, .encoder = encoder};
    w.sources[SOURCE_LOGITS] = p->logits;
    w.sources[SOURCE_SLABS] = kv->table;
    w.sources[SOURCE_PARTIAL] = p->partial;
    w.sources[SOURCE_TOP] = p->top;
    bind_buffer(&w, BUFFER_STEP, p->step, 0);
    bind_buffer(&w, BUFFER_STEP_DATA, p->step, ARGUMENT_STRIDE);
    use_pages(p, kv, encoder);
    int op = -1;
    for (int i = 0; i < p->n_dispatches; i++) {
        dispatch *d = &p->dispatches[i];
        MTLSize grid;
        if (d->op != op && d->op < p->tables.n_ops) w.pending |= p->tables.ops[d->op].barrier;
        op = d->op;
        if ((only >= 0 && only != i) || !is_wanted(d, counts, &grid)) continue;
        if (!d->state) d->state = find_pipeline(p->device, &d->key, error);
        if (!d->state) return -1;
        encode_dispatch(&w, d, grid);
    }
    p->statistics.dispatches = w.dispatches;
    p->statistics.barriers = w.barriers;
    return 0;
}
