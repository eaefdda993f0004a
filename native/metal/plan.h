/* A program as the encoder walks it: a flat list of dispatches, made once. */
#ifndef SMELT_METAL_PLAN_H
#define SMELT_METAL_PLAN_H

#include "metal/internal.h"

/* What changes from step to step and decides how often and how wide a kernel is dispatched. */
enum count {
    COUNT_ONE,
    COUNT_TOKENS,
    COUNT_LOGITS,
    COUNT_TOKEN_TILES, /* of MATMUL_TOKENS rows */
    COUNT_LOGIT_TILES,
    COUNT_SINGLES, /* tokens of attention_decode */
    COUNT_TILES,   /* tiles of attention_prefill */
    COUNT_SPLITS,  /* of attention_decode */
    COUNT_ARGMAX,  /* rows whose largest logit alone is wanted */
    COUNT_TOP_K,   /* rows whose k largest are */
    COUNTS
};

typedef struct {
    int32_t n[COUNTS];
} step_counts;

/* Where a bound buffer comes from: fixed at planning, or known when a step is encoded. */
enum source { SOURCE_FIXED, SOURCE_LOGITS, SOURCE_SLABS, SOURCE_PARTIAL, SOURCE_TOP, SOURCES };

typedef struct {
    int32_t index;   /* of [[buffer(n)]] */
    int32_t source;
    id<MTLBuffer> buffer; /* SOURCE_FIXED; held by the program or by its weights */
    uint64_t offset;
} binding;

enum { MOST_BINDINGS = 12 };
enum scratch { SCRATCH_NORM = 1, SCRATCH_PARTIAL = 2 };

typedef struct {
    int32_t op;           /* index in the program; n_ops for the choice of the largest logits */
    int32_t kernel;
    int32_t guard;        /* enum count: dispatched where least <= n[guard] <= most */
    int32_t least, most;
    int32_t grid[3];      /* threadgroups: grid[i] * n[per[i]] */
    int32_t per[3];
    int32_t threads;      /* a threadgroup */
    int32_t waits;        /* 1: a barrier of its own, besides the op's */
    int32_t reads, writes; /* enum scratch */
    int32_t uses_kv;      /* constants and arguments depend on the pool */
    uint32_t arguments;   /* offset of its argument struct */
    int32_t n_bindings;
    binding bindings[MOST_BINDINGS];
    pipeline_key key;
    id<MTLComputePipelineState> state; /* nil until it is first needed */
} dispatch;

enum { ARGUMENT_STRIDE = 256 }; /* constant buffers are bound at multiples of this on every Mac */

struct metal_program {
    metal_device *device;
    program_tables tables; /* copies */
    metal_place *places;   /* of the weights */
    dispatch *dispatches;
    int n_dispatches, room_for_dispatches;
    uint32_t argument_bytes;
    char *argument_data;       /* what `arguments` receives */
    id<MTLBuffer> arguments;
    id<MTLBuffer> arena;
    id<MTLBuffer> norm;        /* SCRATCH_NORM: rows normalised for matmul */
    id<MTLBuffer> partial;     /* SCRATCH_PARTIAL: grows with the context */
    id<MTLBuffer> step;        /* step_args and its arrays */
    id<MTLBuffer> logits;      /* grows with the rows wanted */
    id<MTLBuffer> top;
    uint32_t top_arguments[2]; /* offsets of argmax's and top_k's top_args */
    size_t norm_bytes;
    int n_vocab;
    int has_row_a_token;       /* the last value, not only one a wanted logit */
    int heads_and_sizes;       /* floats of a (token, split) in `partial`: n_heads (head_dim + 2) */
    int64_t kv;                /* number of the pool that dispatches with uses_kv are made for */
    int buffers_generation;    /* grows when a buffer that was encoded is replaced */
    id<MTLCommandBuffer> ahead; /* encoded for a step that is expected, not committed */
    struct encoded_for {
        step_counts counts;
        int64_t kv;
        int kv_generation, buffers_generation;
    } ahead_for;
    metal_statistics statistics;
};

/* Makes the dispatches of every op. 0, or -1 with *error. */
int plan_program(metal_program *program, metal_error *error);

/* Makes constants and arguments that depend on the pool fit this one. */
void plan_for_kv(metal_program *program, const metal_kv *kv);

/* Encodes the dispatches of a step into one concurrent encoder: -1 and *error where a pipeline does
 * not build. `only`: the one dispatch to encode, or -1 for all. */
int encode_step(metal_program *program, const metal_kv *kv, const step_counts *counts,
                id<MTLComputeCommandEncoder> encoder, int only, metal_error *error);

#endif
