/* The Metal device as _metal.pyx sees it: a GPU, buffers, programs, page pools, and the step.
 *
 * Plain C: the objects behind these names are Objective-C's. Functions that can fail return NULL or
 * a status other than STEP_OK and say why in *error; none prints, throws or ends the process. One
 * thread at a time.
 *
 * In a child made by fork nothing here works: Metal's connections to the system stay behind, and
 * Objective-C ends a child that goes on using it. Opening a device, growing a pool and steps say so;
 * what the child destroys is left as it is.
 */
#ifndef SMELT_METAL_H
#define SMELT_METAL_H

#include "checks.h"
#include "kernel_args.h"

typedef struct {
    char text[1024];
} metal_error;

typedef struct metal_device metal_device;
typedef struct metal_buffer metal_buffer;
typedef struct metal_program metal_program;
typedef struct metal_kv metal_kv;

typedef struct {
    char name[128];
    int64_t max_buffer_bytes;
    int64_t working_set_bytes; /* recommended for all buffers together */
    int64_t allocated_bytes;   /* now */
    int apple_family;          /* 7 is M1 */
    int residency_sets;        /* whether the system has them */
    int from_source;           /* the kernels were compiled at run time */
} metal_info;

/* The default GPU with its kernels: the .metallib of that path, or where that is NULL the text of
 * their source. NULL: there is no GPU, it is too old, or the kernels cannot be loaded. */
metal_device *metal_device_open(const char *metallib, const char *source, metal_error *error);
void metal_device_close(metal_device *device);
void metal_device_info(const metal_device *device, metal_info *info);

/* Memory of the GPU. metal_buffer_map makes a buffer of pages that are mapped already, without a
 * copy: address and length are multiples of the page size and stay mapped as long as the buffer
 * lives; NULL where the system refuses. metal_buffer_copy copies `length` bytes. */
metal_buffer *metal_buffer_map(metal_device *device, void *address, size_t length,
                               metal_error *error);
metal_buffer *metal_buffer_copy(metal_device *device, const void *data, size_t length,
                                metal_error *error);
void metal_buffer_release(metal_buffer *buffer);

/* Where each weight of a program lies; weight_record.data is not looked at. */
typedef struct {
    metal_buffer *buffer;
    int64_t offset; /* bytes */
} metal_place;

/* Copies the tables. The buffers of `places`, and the pool of the last step, must outlive the
 * program, which may have a command buffer that refers to them. Kernels are built when a step first
 * needs them. NULL: out of memory, or a record that no kernel runs. */
metal_program *metal_program_create(metal_device *device, const program_tables *tables,
                                    const metal_place *places, metal_error *error);
void metal_program_destroy(metal_program *program);
/* Where a value lies, for tracing: valid after a step of a program planned without reuse. */
const float *metal_program_value(const metal_program *program, int value);

/* What the encoder did for the last step that it encoded. */
typedef struct {
    int dispatches;
    int barriers;
    int encoded_ahead;   /* the step ran from a command buffer that had been encoded before */
    double encode_seconds; /* of the host, for the last command buffer */
    double gpu_seconds;  /* from the start of the GPU's work to its end */
} metal_statistics;
metal_statistics metal_program_statistics(const metal_program *program);

metal_kv *metal_kv_create(metal_device *device, int n_layers, int n_kv_heads, int head_dim,
                          int kv_f16, metal_error *error);
void metal_kv_destroy(metal_kv *kv);
int metal_kv_grow(metal_kv *kv, int n_pages, metal_error *error); /* 0, or -1: nothing changed */
int64_t metal_kv_page_bytes(const metal_kv *kv);

/* METAL_FAILED: the GPU reported an error (*error says at which op), memory for this step was
 * refused, or a kernel does not build. Everything else is as before the step. */
enum { METAL_FAILED = 100 };

/* Runs a program on one step and waits for it. k = 0: step->logits receives the logits
 * [n_logits, n_vocab]; otherwise `top` receives the k largest of each row [n_logits, k] (see
 * top_args) and no logits are copied. Returns an enum step_status, or METAL_FAILED. */
int metal_step(metal_program *program, metal_kv *kv, const step *step, int k, top_entry *top,
               metal_error *error);

/* The same op by op, each in a command buffer of its own, with the GPU's time stamps where it gives
 * them: seconds receives the GPU's time of every op [n_ops]. For `smelt bench` and traces; the
 * logits are not copied. */
int metal_profile(metal_program *program, metal_kv *kv, const step *step, double *seconds,
                  metal_error *error);

/* Records what the GPU does from here to metal_capture_end in a file that Xcode opens. 0 or -1. */
int metal_capture_begin(metal_device *device, const char *path, metal_error *error);
void metal_capture_end(metal_device *device);

#endif
