/* The CPU device: programs, and the loop that replays one on a step. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/isa/isa.h"

struct cpu_device {
    thread_pool *pool;
    const kernel_table *kernels;
};

int cpu_isa_count(void)
{
    int count;
    instruction_sets(&count);
    return count;
}

const char *cpu_isa_name(int isa)
{
    int count;
    return instruction_sets(&count)[isa].name;
}

int cpu_isa_available(int isa)
{
    int count;
    const instruction_set *sets = instruction_sets(&count);
    return isa >= 0 && isa < count && instruction_set_is_here(&sets[isa]);
}

const char *cpu_isa_need(int isa, int i, int *is_here)
{
    int count;
    const feature *need = i < MOST_NEEDS ? instruction_sets(&count)[isa].needs[i] : NULL;
    *is_here = need && feature_is_here(need);
    return need ? need->name : NULL;
}

const char *cpu_unused_feature(int i, int *is_here)
{
    int count;
    const feature *features = unused_features(&count);
    *is_here = i < count && feature_is_here(&features[i]);
    return i < count ? features[i].name : NULL;
}

cpu_tiles cpu_isa_tiles(int isa)
{
    int count;
    return instruction_sets(&count)[isa].kernels->tiles;
}

cpu_device *cpu_device_create(int isa, int n_threads)
{
    int count;
    cpu_device *device = calloc(1, sizeof *device);
    if (!device) return NULL;
    device->kernels = instruction_sets(&count)[isa].kernels;
    look_at_caches();
    device->pool = pool_create(n_threads);
    if (device->pool) return device;
    free(device);
    return NULL;
}

void cpu_device_destroy(cpu_device *device)
{
    if (!device) return;
    pool_destroy(device->pool);
    free(device);
}

thread_pool *cpu_device_pool(cpu_device *device) { return device->pool; }

const limit_loops *cpu_device_limits(const cpu_device *device) { return &device->kernels->limits; }

/* rope_table computes in double; embed reads rows of the file; every other op wants quantised
 * matrices packed. */
static int weight_is_sound(const weight_record *w, int op)
{
    if (w->format == FORMAT_F64) return op == OP_rope_table && w->data;
    if (op == OP_rope_table || w->format < 0 || w->format >= FORMAT_COUNT || !w->data) return 0;
    if (w->n_in % format_of(w->format)->block_weights) return 0;
    const int64_t group = (int64_t)cpu_packed_bytes(w->format, 1, w->n_in); /* 0 if not quantised */
    if (w->packed != (group > 0 && op != OP_embed)) return 0;
    return !w->packed || w->row_bytes >= group / GROUP_ROWS;
}

static int weights_are_sound(const program_tables *t, const op_record *op)
{
    for (int i = 0; i < RECORD_WEIGHTS; i++)
        if (op->weights[i] >= 0 && !weight_is_sound(&t->weights[op->weights[i]], op->op)) return 0;
    return 1;
}

typedef struct {
    size_t shared, thread; /* bytes */
} scratch_sizes;

/* The largest scratch any op needs: activations of the whole step shared; of one token, two units
 * of outputs and attention's page and states for each thread. */
static scratch_sizes scratch_needed(const program_tables *t)
{
    scratch_sizes need = {0, 0};
    const int rows = t->max_tokens > t->max_logits ? t->max_tokens : t->max_logits;
    size_t units = 2 * (size_t)(rows > 1 ? rows : 1) * MOST_UNIT_ROWS * sizeof(float);
    for (int i = 0; i < t->n_ops; i++) {
        const op_record *op = &t->ops[i];
        if (op->inputs[0] < 0) continue;
        int width = t->values[op->inputs[0]].width;
        size_t shared = activations_bytes(rows, width), thread = units;
        thread += activations_bytes(1, width);
        if (is_matmul(op)) {
            const size_t sums = sums_bytes(t, op, rows);
            shared += op->op == OP_norm_gate_up ? 0 : sums ? sums : MOST_SUMS;
        }
        if (op->n_kv_heads > 0) {
            size_t head = (size_t)(op->head_dim + 15) / 16 * 16;
            size_t rows = (size_t)RUN_TOKENS * (size_t)(op->n_heads / op->n_kv_heads + 1);
            size_t kv_dim = (size_t)op->n_kv_heads * head;
            thread += (2 * head * PAGE_TOKENS + rows * (head + 2) + kv_dim) * sizeof(float);
        }
        if (shared > need.shared) need.shared = shared;
        if (thread > need.thread) need.thread = thread;
    }
    need.thread = (need.thread + 4095) / 4096 * 4096;
    return need;
}

static void *copy_of(const void *from, size_t count, size_t size)
{
    void *to = malloc(count * size + 1);
    if (to) memcpy(to, from, count * size);
    return to;
}

static void *lines(size_t bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }

cpu_program *cpu_program_create(cpu_device *device, const program_tables *t, int *bad_op)
{
    *bad_op = program_check(t);
    for (int i = 0; *bad_op < 0 && i < t->n_ops; i++)
        if (!weights_are_sound(t, &t->ops[i])) *bad_op = i;
    if (*bad_op >= 0) return NULL;
    cpu_program *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    scratch_sizes need = scratch_needed(t);
    p->tables = *t;
    p->tables.ops = copy_of(t->ops, (size_t)t->n_ops, sizeof *t->ops);
    p->tables.values = copy_of(t->values, (size_t)t->n_values, sizeof *t->values);
    p->tables.weights = copy_of(t->weights, (size_t)t->n_weights, sizeof *t->weights);
    p->arena = lines((size_t)t->arena_bytes);
    p->shared_scratch = lines(need.shared);
    p->thread_scratch_bytes = need.thread;
    p->thread_scratch = lines(need.thread * (size_t)pool_threads(device->pool));
    p->n_counters = t->n_ops * OP_COUNTERS * pool_threads(device->pool);
    p->counters = calloc((size_t)p->n_counters + 1, sizeof *p->counters);
    p->runs = calloc((size_t)t->max_tokens + 1, sizeof *p->runs);
    if (p->tables.ops && p->tables.values && p->tables.weights && p->arena && p->shared_scratch
        && p->thread_scratch && p->counters && p->runs)
        return p;
    cpu_program_destroy(p);
    return NULL;
}

void cpu_program_destroy(cpu_program *p)
{
    if (!p) return;
    free((void *)p->tables.ops);
    free((void *)p->tables.values);
    free((void *)p->tables.weights);
    free(p->arena);
    free(p->shared_scratch);
    free(p->thread_scratch);
    free(p->counters);
    free(p->runs);
    free(p);
}

const float *cpu_program_value(const cpu_program *p, int value)
{
    if (value < 0 || value >= p->tables.n_values || p->tables.values[value].offset < 0) return NULL;
    return (const float *)(p->arena + p->tables.values[value].offset);
}

typedef struct {
    cpu_device *device;
    cpu_program *program;
    cpu_kv *kv;
    const step *step;
    const int *cancel;
    int (*poll)(void);
    int n_runs;
    struct timespec polled;
    int status;      /* written by thread 0 alone */
    atomic_int stop; /* set when that is not STEP_OK: threads leave before their next op that waits */
} replay;

enum { POLL_NANOSECONDS = 20000000 };

/* Whether to go on, asked by thread 0 alone between two ops. */
static enum step_status look_up(replay *r)
{
    struct timespec now;
    if (__atomic_load_n(r->cancel, __ATOMIC_RELAXED)) return STEP_CANCELLED;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t passed = (int64_t)(now.tv_sec - r->polled.tv_sec) * 1000000000
                     + (now.tv_nsec - r->polled.tv_nsec);
    if (passed < POLL_NANOSECONDS) return STEP_OK;
    r->polled = now;
    return r->poll && r->poll() ? STEP_INTERRUPTED : STEP_OK;
}

/* Waits for the ops before, and returns whether to go on. Thread 0 has taken nothing of the next op
 * when it decides to stop; a thread that is already there does it to its end. */
static int go_on(replay *r, const work *w)
{
    if (w->thread == 0) {
        r->status = look_up(r);
        if (r->status != STEP_OK) atomic_store(&r->stop, 1);
    }
    wait_for_units(w);
    return !atomic_load(&r->stop);
}

static void replay_ops(void *argument, int thread)
{
    replay *r = argument;
    cpu_program *p = r->program;
    thread_pool *pool = r->device->pool;
    char *scratch = p->thread_scratch + (size_t)thread * p->thread_scratch_bytes;
    work w = {.program = p, .step = r->step, .kv = r->kv, .pool = pool, .thread = thread,
              .n_threads = pool_threads(pool), .runs = p->runs, .n_runs = r->n_runs};
    for (int i = 0; i < p->tables.n_ops; i++) {
        const op_record *op = &p->tables.ops[i];
        if (op->barrier && !go_on(r, &w)) return;
        w.counters = &p->counters[i * OP_COUNTERS * w.n_threads];
        w.scratch = scratch;
        r->device->kernels->ops[op->op](&w, op);
    }
}

/* Cuts the step's tokens into runs of consecutive positions of one sequence. */
static int find_runs(cpu_program *p, const step *s)
{
    int n = 0;
    for (int i = 0; i < s->n_tokens; i++) {
        token_run *last = n ? &p->runs[n - 1] : NULL;
        if (last && last->count < RUN_TOKENS && s->sequences[i] == s->sequences[i - 1]
            && s->positions[i] == s->positions[i - 1] + 1)
            last->count++;
        else
            p->runs[n++] = (token_run){i, 1};
    }
    return n;
}

int cpu_step(cpu_device *device, cpu_program *program, cpu_kv *kv, const step *step,
             const int *cancel, int (*poll)(void))
{
    if (pool_forked(device->pool)) return STEP_FORKED;
    const cache_shape shape = {kv->n_pages, kv->n_layers, kv->n_kv_heads, kv->head_dim};
    enum step_status sound = step_check(&program->tables, shape, step);
    if (sound != STEP_OK) return sound;
    replay r = {.device = device, .program = program, .kv = kv, .step = step, .cancel = cancel,
                .poll = poll, .n_runs = find_runs(program, step), .status = STEP_OK};
    atomic_init(&r.stop, 0);
    clock_gettime(CLOCK_MONOTONIC, &r.polled);
    for (int i = 0; i < program->n_counters; i++)
        atomic_store_explicit(&program->counters[i], 0, memory_order_relaxed);
    pool_run(device->pool, replay_ops, &r);
    return r.status;
}
