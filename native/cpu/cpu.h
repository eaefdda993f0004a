/* The CPU device as _cpu.pyx sees it: a thread pool, programs, page pools, and the step. */
#ifndef SMELT_CPU_H
#define SMELT_CPU_H

#include "checks.h"

enum { KV_F16, KV_F32 };

typedef struct cpu_device cpu_device;
typedef struct cpu_program cpu_program;
typedef struct cpu_kv cpu_kv;

/* Instruction sets from the plainest to the widest; index 0 is always available. */
int cpu_isa_count(void);
const char *cpu_isa_name(int isa);
int cpu_isa_available(int isa);
/* Name of the i-th feature that a set needs of processor and system, and whether it is here; NULL
 * behind the last. */
const char *cpu_isa_need(int isa, int i, int *is_here);

/* The same of features that no set of this build uses. */
const char *cpu_unused_feature(int i, int *is_here);

/* What a set's kernels keep in registers at a time. */
typedef struct {
    int tile_tokens; /* prefill: tokens by */
    int tile_rows;   /*   rows of a matrix */
    int dot_tokens;  /* tokens of smaller steps, whose weights are unpacked on the way */
    int heads;       /* attention: query heads side by side */
} cpu_tiles;
cpu_tiles cpu_isa_tiles(int isa);

/* NULL where memory or threads cannot be had. */
cpu_device *cpu_device_create(int isa, int n_threads);
void cpu_device_destroy(cpu_device *device);

/* Quantised matrices are packed at load (see packed.h): the bytes that takes, 0 for formats that
 * stay as they are, and the packing itself, on all threads. Groups of 16 rows come to lie `stride`
 * bytes apart, so that those of two matrices can take turns. Returns 0, or -1 for a format that is not
 * packed and for groups that would overlap. */
size_t cpu_packed_bytes(int format, int n_out, int n_in);
int cpu_pack(cpu_device *device, const weight_record *from, void *to, size_t stride);
/* Has the system back fresh memory, whatever is in it, each huge page through one thread. Where packing
 * comes to a page first, several threads do at once, and for each the system zeroes one that all but
 * one of them throw away. */
void cpu_touch(cpu_device *device, void *fresh, size_t bytes);

/* Copies the tables. NULL: out of memory, or *bad_op is the first record a kernel cannot run. */
cpu_program *cpu_program_create(cpu_device *device, const program_tables *tables, int *bad_op);
void cpu_program_destroy(cpu_program *program);
/* Where a value lies, for tracing: valid after a step of a program planned without reuse. */
const float *cpu_program_value(const cpu_program *program, int value);

/* NULL: out of memory, a shape with nothing in it, or one larger than kernels count or memory holds. */
cpu_kv *cpu_kv_create(int n_layers, int n_kv_heads, int head_dim, int type);
void cpu_kv_destroy(cpu_kv *kv);
/* Makes room for n_pages pages or more. Returns 0, or -1: no memory for all of them, and those that
 * there was memory for stay. */
int cpu_kv_grow(cpu_kv *kv, int n_pages);
int64_t cpu_kv_page_bytes(const cpu_kv *kv);
/* A layer's keys and values at the places [first, end) of a page, for tracing:
 * [end - first, n_kv_heads, head_dim] each. Returns 0, or -1: no such page, layer or places. */
int cpu_kv_read(const cpu_kv *kv, int page, int layer, int first, int end, float *keys,
                float *values);

/* Of the elements seen so far. Sums, smallest and largest are over the finite ones; to begin with
 * 0, 0, infinity and -infinity. bad: where the first NaN or infinity is; to begin with -1. */
typedef struct {
    int64_t count, n_zeros, n_nan, n_inf, bad_row, bad_element;
    double total, squares, min, max;
} cpu_statistics;

/* Rows of a value, float or double; `value` is the index of its statistics. */
typedef struct {
    int64_t value;
    const void *data;
    int64_t is_double, n_rows, width, first_row;
} cpu_rows;

/* Takes in n blocks of rows. */
void cpu_add_statistics(int isa, const cpu_rows *rows, int n, cpu_statistics *statistics);

/* What all threads can do at most, each a rate a second (limits.c); 0 in a forked child.
 * Bytes read of `memory`, each once, prefetching `ahead` bytes of what is being read; operations of
 * float32 multiply-adds; and of int16 products that are added to int32 sums, as the kernels of
 * quantised matrices have them. A multiply-add is two operations. */
double cpu_read_rate(cpu_device *device, const void *memory, size_t bytes, size_t ahead);
double cpu_fma_rate(cpu_device *device, int64_t rounds);
double cpu_dot_rate(cpu_device *device, int64_t rounds);

/* Runs every op of the program on one step. `cancel` may be set by another thread at any time;
 * `poll` is called now and then between two ops, on the calling thread. */
int cpu_step(cpu_device *device, cpu_program *program, cpu_kv *kv, const step *step,
             const int *cancel, int (*poll)(void));

/* The k largest of n logits, 1 <= k <= n and k <= CPU_MOST_TOP: the largest first, of equal ones the
 * lowest id; the first NaN or +inf, if there is one, in front of all. */
enum { CPU_MOST_TOP = 1024 };
typedef struct {
    int32_t id;
    float logit;
} cpu_top_entry;
void cpu_top(const float *logits, int n, int k, cpu_top_entry *top);

#endif
