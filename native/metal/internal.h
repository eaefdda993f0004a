/* What the files of the Metal device share. Manual retain and release: what a struct holds, it has
 * retained. */
#ifndef SMELT_METAL_INTERNAL_H
#define SMELT_METAL_INTERNAL_H

#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

#include "metal/metal.h"

#if __has_include(<Metal/MTLResidencySet.h>) /* the SDK of macOS 15 */
#define HAVE_RESIDENCY_SETS 1
#endif

enum kernel {
#define KERNEL(name) KERNEL_##name,
#include "metal/kernels.def"
    KERNEL_COUNT
};
const char *kernel_name(enum kernel kernel);

enum { FUNCTION_CONSTANTS = 17 };

/* A kernel and the function constants that specialise it. */
typedef struct {
    int32_t kernel;
    uint32_t defined; /* bit n: constant n has a value */
    int32_t values[FUNCTION_CONSTANTS];
} pipeline_key;

typedef struct {
    pipeline_key key;
    id<MTLComputePipelineState> state;
} pipeline;

struct metal_device {
    id<MTLDevice> gpu;
    id<MTLCommandQueue> queue;
    id<MTLLibrary> library;
    pipeline *pipelines;
    int n_pipelines, room_for_pipelines;
    int64_t pools; /* made so far */
    int from_source;
#ifdef HAVE_RESIDENCY_SETS
    id residency; /* id<MTLResidencySet>, or nil on older systems: all buffers of this device */
#endif
};

struct metal_buffer {
    metal_device *device;
    id<MTLBuffer> buffer;
};

struct metal_kv {
    metal_device *device;
    int64_t number; /* from 1: a later pool may lie at the address of one that is gone */
    int n_layers, n_kv_heads, head_dim, f16;
    int n_pages;
    int64_t layer_bytes, page_bytes;
    id<MTLBuffer> table; /* kv_slab [room_for_slabs] */
    id<MTLBuffer> *slabs;
    int n_slabs, room_for_slabs;
    int generation; /* grows with every slab: what was encoded before does not know it */
};

/* Whether this process is a fork of one that used Metal; then *error says so. error may be NULL. */
int is_forked(metal_error *error);

/* error may be NULL; `what` names the thing that failed. */
void set_error(metal_error *error, NSString *format, ...) NS_FORMAT_FUNCTION(2, 3);

/* A new buffer, retained and resident, or nil with *error. */
id<MTLBuffer> new_buffer(metal_device *device, size_t length, MTLResourceOptions options,
                         const char *what, metal_error *error);
void drop_buffer(metal_device *device, id<MTLBuffer> *buffer); /* releases it, sets nil */

/* The pipeline of a key, built at its first use and kept; not retained for the caller. */
id<MTLComputePipelineState> find_pipeline(metal_device *device, const pipeline_key *key,
                                          metal_error *error);
void drop_pipelines(metal_device *device);

id<MTLLibrary> load_library(id<MTLDevice> gpu, const char *metallib, const char *source,
                            metal_error *error);

#endif
