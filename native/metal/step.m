/* A step: its numbers into shared memory, one command buffer to the GPU, and the answer back.
 *
 * While the GPU works on a decode step, the command buffer of the next one is encoded: all it needs
 * to know is how many tokens there will be, since token ids, positions and page tables are read
 * from memory when it runs. If the guess was wrong it is dropped.
 */
#include <time.h>

#include "metal/plan.h"
#include "metal/step.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Makes *buffer at least `bytes` long; what it held is lost. */
static int reserve(metal_program *p, id<MTLBuffer> *buffer, size_t bytes, const char *what,
                   metal_error *error)
{
    if (bytes <= [*buffer length]) return 0;
    size_t wanted = 4096;
    while (wanted < bytes) wanted *= 2;
    id<MTLBuffer> larger = new_buffer(p->device, wanted, MTLResourceStorageModeShared, what, NULL);
    if (!larger) larger = new_buffer(p->device, bytes, MTLResourceStorageModeShared, what, error);
    if (!larger) return -1;
    [p->ahead release]; /* it was encoded with the old one */
    p->ahead = nil;
    drop_buffer(p->device, buffer);
    *buffer = larger;
    p->buffers_generation++;
    return 0;
}

static int32_t tiles_of(int32_t n, int32_t size) { return (n + size - 1) / size; }

/* Cuts the tokens into tiles of consecutive positions of a sequence, and single tokens where such a
 * run is short. NULL pointers: only counts. */
static void cut_runs(const step *s, int32_t *singles, int32_t *tiles, step_counts *counts)
{
    int32_t n_singles = 0, n_tiles = 0;
    for (int32_t first = 0, end; first < s->n_tokens; first = end) {
        for (end = first + 1; end < s->n_tokens && s->sequences[end] == s->sequences[first]
                              && s->positions[end] == s->positions[end - 1] + 1;)
            end++;
        for (int32_t t = first, n; t < end; t += n) {
            n = end - t < TILE_TOKENS ? end - t : TILE_TOKENS;
            if (end - first < TILE_MIN_TOKENS) {
                n = 1;
                if (singles) singles[n_singles] = t;
                n_singles++;
            } else {
                if (tiles) tiles[2 * n_tiles] = t, tiles[2 * n_tiles + 1] = n;
                n_tiles++;
            }
        }
    }
    counts->n[COUNT_SINGLES] = n_singles;
    counts->n[COUNT_TILES] = n_tiles;
}

/* `later`: how many positions further on than the step's (0, or 1 for the one expected next). */
static step_counts count_step(const step *s, int k, int later)
{
    step_counts c = {{0}};
    int32_t longest = 0;
    for (int32_t i = 0; i < s->n_tokens; i++)
        if (s->positions[i] > longest) longest = s->positions[i];
    c.n[COUNT_ONE] = 1;
    c.n[COUNT_TOKENS] = s->n_tokens;
    c.n[COUNT_LOGITS] = s->n_logits;
    c.n[COUNT_TOKEN_TILES] = tiles_of(s->n_tokens, MATMUL_TOKENS);
    c.n[COUNT_LOGIT_TILES] = tiles_of(s->n_logits, MATMUL_TOKENS);
    c.n[COUNT_SPLITS] = tiles_of(longest + later + 1, PAGE_POSITIONS * SPLIT_PAGES);
    c.n[COUNT_ARGMAX] = k == 1 ? s->n_logits : 0;
    c.n[COUNT_TOP_K] = k > 1 ? s->n_logits : 0;
    cut_runs(s, NULL, NULL, &c);
    return c;
}

/* Writes the step where the kernels read it. The GPU is idle. */
static int fill_step(metal_program *p, const step *s, step_counts *counts, metal_error *error)
{
    const int32_t most = p->tables.max_tokens, pages = s->n_sequences * s->max_pages;
    const int32_t fixed = 6 * most + p->tables.max_logits;
    size_t bytes = ARGUMENT_STRIDE + ((size_t)fixed + (size_t)pages) * sizeof(int32_t);
    if (reserve(p, &p->step, bytes, "a step", error)) return -1;
    step_args args = {
        .n_tokens = s->n_tokens,
        .n_logits = s->n_logits,
        .n_splits = counts->n[COUNT_SPLITS],
        .max_pages = s->max_pages,
        .token_ids = 0,
        .positions = most,
        .sequences = 2 * most,
        .singles = 3 * most,
        .tiles = 4 * most,
        .logit_rows = 6 * most,
        .page_table = fixed,
    };
    char *to = [p->step contents];
    int32_t *data = (int32_t *)(to + ARGUMENT_STRIDE);
    memcpy(to, &args, sizeof args);
    memcpy(data + args.token_ids, s->token_ids, (size_t)s->n_tokens * sizeof *data);
    memcpy(data + args.positions, s->positions, (size_t)s->n_tokens * sizeof *data);
    memcpy(data + args.sequences, s->sequences, (size_t)s->n_tokens * sizeof *data);
    memcpy(data + args.logit_rows, s->logit_rows, (size_t)s->n_logits * sizeof *data);
    memcpy(data + args.page_table, s->page_table, (size_t)pages * sizeof *data);
    cut_runs(s, data + args.singles, data + args.tiles, counts);
    return 0;
}

/* Bytes of attention's partial results; 0 for short contexts. */
static size_t partial_bytes(const metal_program *p, const step_counts *c)
{
    if (c->n[COUNT_SPLITS] < 2) return 0;
    return (size_t)c->n[COUNT_SINGLES] * (size_t)c->n[COUNT_SPLITS] * (size_t)p->heads_and_sizes
           * sizeof(float);
}

static int prepare_buffers(metal_program *p, const step_counts *c, int k, metal_error *error)
{
    size_t rows = (size_t)c->n[COUNT_LOGITS];
    if (reserve(p, &p->logits, rows * (size_t)p->n_vocab * sizeof(float), "logits", error))
        return -1;
    if (k && reserve(p, &p->top, rows * (size_t)k * sizeof(top_entry), "logits", error)) return -1;
    return reserve(p, &p->partial, partial_bytes(p, c), "attention", error);
}

static void set_k(metal_program *p, int k)
{
    ((top_args *)((char *)[p->arguments contents] + p->top_arguments[1]))->k = k;
}

/* The memory of results has n_logits rows, and the kernels that choose have room for TOP_MAX. */
static int check_results(const metal_program *p, const step *s, int k)
{
    if (p->has_row_a_token && s->n_logits < s->n_tokens) return STEP_BAD_PLACE;
    return k < 0 || k > TOP_MAX || k > p->n_vocab ? STEP_TOO_LARGE : STEP_OK;
}

int prepare_step(metal_program *p, const metal_kv *kv, const step *s, int k, step_counts *counts,
                 metal_error *error)
{
    if (is_forked(NULL)) return STEP_FORKED;
    const cache_shape shape = {kv->n_pages, kv->n_layers, kv->n_kv_heads, kv->head_dim};
    int status = step_check(&p->tables, shape, s);
    if (status == STEP_OK) status = check_results(p, s, k);
    if (status != STEP_OK) return status;
    *counts = count_step(s, k, 0);
    if (p->kv != kv->number) plan_for_kv(p, kv);
    set_k(p, k);
    if (prepare_buffers(p, counts, k, error) || fill_step(p, s, counts, error)) return METAL_FAILED;
    return STEP_OK;
}

/* A whole step in a command buffer that is not committed yet; retained. */
static id<MTLCommandBuffer> encode_commands(metal_program *p, const metal_kv *kv,
                                            const step_counts *counts, metal_error *error)
{
    double started = now();
    id<MTLCommandBuffer> commands = [p->device->queue commandBufferWithUnretainedReferences];
    id<MTLComputeCommandEncoder> encoder =
        [commands computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
    if (!encoder) {
        set_error(error, @"the GPU gives no command buffer");
        return nil;
    }
    int failed = encode_step(p, kv, counts, encoder, -1, error);
    [encoder endEncoding];
    p->statistics.encode_seconds = now() - started;
    return failed ? nil : [commands retain];
}

static struct encoded_for situation(const metal_program *p, const metal_kv *kv,
                                    const step_counts *counts)
{
    struct encoded_for what;
    memset(&what, 0, sizeof what); /* compared as bytes */
    what.counts = *counts;
    what.kv = kv->number;
    what.kv_generation = kv->generation;
    what.buffers_generation = p->buffers_generation;
    return what;
}

/* The command buffer of this step: the one encoded ahead if it fits, else a fresh one. */
static id<MTLCommandBuffer> take_commands(metal_program *p, const metal_kv *kv,
                                          const step_counts *counts, metal_error *error)
{
    struct encoded_for wanted = situation(p, kv, counts);
    id<MTLCommandBuffer> ahead = p->ahead;
    p->ahead = nil;
    p->statistics.encoded_ahead = ahead && !memcmp(&wanted, &p->ahead_for, sizeof wanted);
    if (p->statistics.encoded_ahead) return ahead;
    [ahead release];
    return encode_commands(p, kv, counts, error);
}

/* Encodes what follows a decode step while it runs: the same sequences, one position further. */
static void encode_ahead(metal_program *p, const metal_kv *kv, const step *s, int k)
{
    metal_error ignored; /* the next step will meet it again */
    step_counts next = count_step(s, k, 1);
    if (s->n_logits != s->n_tokens || s->n_sequences != s->n_tokens || next.n[COUNT_TILES]) return;
    if (partial_bytes(p, &next) > [p->partial length]) return; /* the GPU still uses this one */
    p->ahead_for = situation(p, kv, &next);
    p->ahead = encode_commands(p, kv, &next, &ignored);
}

static NSString *words_of(NSError *reason)
{
    return reason ? [reason localizedDescription] : @"it gave no reason";
}

/* Whether one dispatch of a step fails by itself; then *error says why. One that the step does not
 * have leaves a command buffer that is not committed. Of such a queue takes 64 and then waits for
 * ever, so the pool lets go of each at once. */
static int fails_alone(metal_program *p, const metal_kv *kv, const step_counts *counts, int at,
                       metal_error *error)
{
    @autoreleasepool {
        const dispatch *d = &p->dispatches[at];
        id<MTLCommandBuffer> commands = [p->device->queue commandBuffer];
        id<MTLComputeCommandEncoder> encoder = [commands computeCommandEncoder];
        int failed = encode_step(p, kv, counts, encoder, at, error);
        [encoder endEncoding];
        if (failed || !p->statistics.dispatches) return failed;
        [commands commit];
        [commands waitUntilCompleted];
        if ([commands status] != MTLCommandBufferStatusError) return 0;
        int layer = d->op < p->tables.n_ops ? p->tables.ops[d->op].layer : -1;
        set_error(error, @"%@ failed at op %d (%s, layer %d): %@", [p->device->gpu name], d->op,
                  kernel_name((enum kernel)d->kernel), layer, words_of([commands error]));
        return 1;
    }
}

/* Runs the step's dispatches one by one to find the op at which the GPU fails. */
static void explain_failure(metal_program *p, const metal_kv *kv, const step_counts *counts,
                            NSError *reason, metal_error *error)
{
    for (int i = 0; i < p->n_dispatches; i++)
        if (fails_alone(p, kv, counts, i, error)) return;
    set_error(error, @"%@ failed in a step, and not again when it ran op by op: %@",
              [p->device->gpu name], words_of(reason));
}

static void copy_results(const metal_program *p, const step *s, int k, top_entry *top)
{
    size_t rows = (size_t)s->n_logits;
    if (k)
        memcpy(top, [p->top contents], rows * (size_t)k * sizeof *top);
    else if (rows)
        memcpy(s->logits, [p->logits contents], rows * (size_t)p->n_vocab * sizeof(float));
}

int metal_step(metal_program *p, metal_kv *kv, const step *s, int k, top_entry *top,
               metal_error *error)
{
    @autoreleasepool {
        step_counts counts;
        int status = prepare_step(p, kv, s, k, &counts, error);
        if (status != STEP_OK) return status;
        id<MTLCommandBuffer> commands = [take_commands(p, kv, &counts, error) autorelease];
        if (!commands) return METAL_FAILED;
        [commands commit];
        encode_ahead(p, kv, s, k);
        [commands waitUntilCompleted];
        p->statistics.gpu_seconds = [commands GPUEndTime] - [commands GPUStartTime];
        if ([commands status] == MTLCommandBufferStatusError) {
            explain_failure(p, kv, &counts, [commands error], error);
            return METAL_FAILED;
        }
        copy_results(p, s, k, top);
        return STEP_OK;
    }
}
