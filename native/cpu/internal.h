/* What the kernels of every instruction set, the replay loop and the page pool share. */
#ifndef SMELT_CPU_INTERNAL_H
#define SMELT_CPU_INTERNAL_H

#include <stdatomic.h>

#include "cpu/cpu.h"
#include "cpu/packed.h"
#include "cpu/threads.h"
#include "formats/formats.h"

enum { MOST_UNIT_ROWS = 2 * GROUP_ROWS }; /* output rows that one thread computes at a time */

thread_pool *cpu_device_pool(cpu_device *device);

/* Activations for a matmul, in the forms its weights' formats ask for.
 * A quantised row is cut into blocks of 32 or 256; x = d * q with |q| <= 2047, so that the
 * dot product with a block of any format fits an int32 exactly (see docs/design.md).
 */
enum activation { ACTIVATION_F32, ACTIVATION_Q32, ACTIVATION_Q256, ACTIVATION_KINDS };
enum { ACTIVATION_MAX = 2047, HALF_BITS = 6 };

static inline int activation_block(enum activation kind)
{
    return kind == ACTIVATION_Q32 ? 32 : 256;
}

static inline const format_info *format_of(int format)
{
    int count;
    return &format_table(&count)[format];
}

static inline enum activation activation_of(int format)
{
    switch (format_of(format)->block_weights) {
    case 1: return ACTIVATION_F32;
    case 32: return ACTIVATION_Q32;
    default: return ACTIVATION_Q256;
    }
}

typedef struct {
    int first, n_tokens; /* of the step's: a matmul takes many tokens a slice at a time */
    int n_in;
    int unit_rows; /* output rows that are computed at a time, in all slices alike */
    int k_begin, k_end; /* what of a row is multiplied; the sums of what is before it are there */
    const float *f32;  /* [n_tokens, n_in] */
    struct {
        int16_t *q;    /* [n_in / block, n_tokens, block], or in tiles: activations.h */
        int8_t *halves; /* [n_in / block, n_tokens, 2, block]: q = 64 high + low, see matmul_bytes.h */
        float *d;      /* [n_in / block, n_tokens] */
        int16_t *sums; /* [n_in / block, n_tokens, block / 16], of q over each 16; in blocks of 256 of
                          each four of them the middle two in each other's place (packed.h); in tiles
                          where q is */
        int16_t *sums32; /* [n_in / block, n_tokens, block / 32], over each 32, of blocks of 256 */
        uint8_t *overflows; /* [n_in / block, n_tokens]: whether one of these does not fit */
    } quantised[ACTIVATION_KINDS];
} activations;

enum { HUGE_PAGE_BYTES = 2 << 20 }; /* of x86, and of arm64 with small pages of 4 KiB */

/* The pages of all layers: page p lies in slab p / SLAB_PAGES.
 * In a page, layer by layer: K as [n_kv_heads, head_dim, PAGE_TOKENS], so that a vector runs over
 * positions and no score needs a horizontal sum; V as [n_kv_heads, PAGE_TOKENS, head_stride].
 */
enum { SLAB_PAGES = 16 };
typedef struct {
    char *pages;     /* [SLAB_PAGES, page_bytes] */
    void *allocated; /* what they lie in */
} kv_slab;

struct cpu_kv {
    int n_layers, n_kv_heads, head_dim, type;
    int head_stride;    /* head_dim rounded up to whole vectors; the rest is zero */
    int n_pages;
    int element_bytes;
    int64_t k_bytes, v_bytes;  /* of one layer in one page */
    int64_t page_bytes;
    int n_slabs;
    kv_slab *slabs;
};

static inline char *kv_k(const cpu_kv *kv, int page, int layer)
{
    return kv->slabs[page / SLAB_PAGES].pages + page % SLAB_PAGES * kv->page_bytes
           + layer * (kv->k_bytes + kv->v_bytes);
}

static inline char *kv_v(const cpu_kv *kv, int page, int layer)
{
    return kv_k(kv, page, layer) + kv->k_bytes;
}

/* Consecutive positions of one sequence within a step: attention reads each page once for them. */
enum { RUN_TOKENS = 16 };
typedef struct {
    int first, count;
} token_run;

/* Units of a thread's share that were taken from the front and, in the upper half, from the back. */
typedef _Atomic uint64_t unit_counter;

/* What one thread sees of a step. */
typedef struct {
    const cpu_program *program;
    const step *step;
    cpu_kv *kv;
    thread_pool *pool;
    int thread, n_threads;
    const token_run *runs;
    int n_runs;
    unit_counter *counters; /* [n_threads], of what the op that runs is doing */
    int done;               /* units of that, by this thread */
    int last;               /* of the units that it has, if none is left behind them; else -1 */
    int64_t expected;       /* units of everything before */
    char *scratch;          /* this thread's own */
} work;

typedef void op_function(work *w, const op_record *op);

/* Loops that do nothing but read, or multiply: the machine's limits (kernels/limits.h). */
typedef struct {
    void (*read)(const char *from, size_t bytes, size_t ahead);
    void (*fma)(int64_t rounds);
    void (*dot)(int64_t rounds);
    int fma_operations, dot_operations; /* of one round */
} limit_loops;

const limit_loops *cpu_device_limits(const cpu_device *device);

/* Of a block of a value: sums and extremes (kernels/statistics.h). */
typedef struct {
    float total, squares, nonzeros, min, max;
} block_statistics;

/* Of the second-level cache (isa/isa.c): whether few tokens' kernels ask for memory into it, not into
 * the first one; and its size, of which activations take a part. */
#if defined(__x86_64__)
extern int prefetch_into_l2;
#else
enum { prefetch_into_l2 = 0 };
#endif
extern int64_t l2_bytes;

/* One instruction set: its ops, what they keep in registers, and what they are measured by. */
typedef struct {
    op_function *ops[OP_COUNT];
    cpu_tiles tiles;
    block_statistics (*statistics)(const float *x, int64_t n);
    limit_loops limits;
} kernel_table;

/* An op may prepare what it then works on, and that may be a part of every row at a time. */
enum { MOST_DEPTHS = 4, OP_COUNTERS = 1 + MOST_DEPTHS };

/* The matrices that an op's units are of, at every second place of `weights`. Of norm_gate_up it is
 * the first: units of the other go with its. */
typedef struct {
    const int32_t *weights;
    int n;
} right_side;

static inline int is_matmul(const op_record *op)
{
    return op->op == OP_matmul || op->op == OP_matmul_add || op->op == OP_norm_matmul
           || op->op == OP_norm_gate_up;
}

static inline right_side right_side_of(const op_record *op)
{
    const int has_gain = op->op == OP_norm_matmul || op->op == OP_norm_gate_up;
    right_side r = {op->weights + has_gain, 1};
    while (op->op == OP_norm_matmul && r.n < RECORD_OUTPUTS && op->outputs[r.n] >= 0) r.n++;
    return r;
}

/* Bytes of all sums of a matmul's units for n tokens, which may be kept while rows are multiplied a part
 * at a time, unless they are too many: then 0. */
enum { MOST_SUMS = 16 << 20 };
static inline size_t sums_bytes(const program_tables *t, const op_record *op, int n_tokens)
{
    const right_side r = right_side_of(op);
    size_t rows = 0;
    for (int i = 0; i < r.n; i++)
        rows += (size_t)(t->weights[r.weights[2 * i]].n_out + MOST_UNIT_ROWS - 1) / MOST_UNIT_ROWS
                * MOST_UNIT_ROWS;
    const size_t bytes = rows * (size_t)n_tokens * sizeof(float);
    return op->op == OP_norm_gate_up || bytes > MOST_SUMS ? 0 : bytes;
}

struct cpu_program {
    program_tables tables;      /* its own copies */
    char *arena;
    char *shared_scratch;       /* activations of the op that runs */
    char *thread_scratch;       /* [n_threads, thread_scratch_bytes] */
    size_t thread_scratch_bytes;
    int n_counters;
    unit_counter *counters;     /* [n_ops, OP_COUNTERS, n_threads] */
    token_run *runs;            /* [max_tokens] */
};

static inline const value_record *value_of(const work *w, int value)
{
    return &w->program->tables.values[value];
}

static inline int value_rows(const work *w, int value)
{
    return value_of(w, value)->rows == ROWS_LOGITS ? w->step->n_logits : w->step->n_tokens;
}

/* The tokens whose rows of its input an op takes, where its output has only these; else NULL. */
static inline const int32_t *selected_rows(const work *w, const op_record *op)
{
    int32_t from = value_of(w, op->inputs[0])->rows, to = value_of(w, op->outputs[0])->rows;
    return from == ROWS_TOKENS && to == ROWS_LOGITS ? w->step->logit_rows : NULL;
}

static inline float *value_data(const work *w, int value)
{
    int64_t offset = value_of(w, value)->offset;
    if (offset == VALUE_IS_LOGITS) return w->step->logits;
    return (float *)(w->program->arena + offset);
}

static inline int value_width(const work *w, int value)
{
    return value_of(w, value)->width;
}

/* Of a thread's `size` units, those that nobody has taken. */
static inline int units_left(const unit_counter *counter, int size)
{
    uint64_t taken = atomic_load_explicit(counter, memory_order_relaxed);
    return size - (int)(uint32_t)taken - (int)(taken >> 32);
}

/* Takes some of a thread's `size` units: its own from the front, an eighth of what is left, since
 * the next ones will follow in memory; another's from the back, half of what is left. Returns how
 * many, and which is the first. */
static inline int take_units(unit_counter *counter, int size, int is_own, int *first)
{
    uint64_t taken = atomic_load_explicit(counter, memory_order_relaxed);
    for (;;) {
        const int front = (int)(uint32_t)taken, back = (int)(taken >> 32), left = size - front - back;
        if (left == 0) return 0;
        const int count = is_own ? (left + 7) / 8 : (left + 1) / 2;
        const uint64_t now = taken + ((uint64_t)count << (is_own ? 0 : 32));
        *first = is_own ? front : size - back - count;
        if (atomic_compare_exchange_weak_explicit(counter, &taken, now, memory_order_relaxed,
                                                  memory_order_relaxed))
            return count;
    }
}

/* The first of `total` units of a thread's even share. */
static inline int share_begin(const work *w, int total, int thread)
{
    return (int)((int64_t)total * thread / w->n_threads);
}

/* The next units [*first, *end) of `total` for this thread; 0 when none are left, which every op has
 * to come to: then the units that this thread did are told, and a next call is about other units.
 * Each thread has an even share, so that it reads one long stretch of memory, and the same one in
 * every step; who is through with it helps the others. */
static inline int next_units(work *w, int total, int *first, int *end)
{
    for (int i = 0; i < w->n_threads; i++) {
        const int thread = (w->thread + i) % w->n_threads;
        const int begin = share_begin(w, total, thread);
        const int size = share_begin(w, total, thread + 1) - begin;
        const int count = take_units(&w->counters[thread], size, i == 0, first);
        if (count == 0) continue;
        *first += begin;
        *end = *first + count;
        w->done += count;
        w->last = i == 0 && units_left(&w->counters[thread], size) > 0 ? -1 : *end - 1;
        return 1;
    }
    if (w->done) pool_add_done(w->pool, w->done);
    w->expected += total;
    w->done = 0;
    w->counters += w->n_threads;
    return 0;
}

/* Waits until all units of all ops up to here are done, whoever has taken them. */
static inline void wait_for_units(const work *w)
{
    if (w->n_threads > 1) pool_wait_done(w->pool, w->expected);
}

static inline size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Bytes that activations take for n tokens, however they are cut into slices, and their places:
 * see activations.c. */
size_t activations_bytes(int n_tokens, int n_in);
char *activations_place(activations *a, char *base);

#endif
