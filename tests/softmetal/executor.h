/* The software GPU: compiles Metal Shading Language for this machine's CPU and runs kernels of it,
 * a fiber for every thread, in lock-step by SIMD groups of 32. The Objective-C side offers it under
 * Metal's names. Plain C, usable through ctypes too.
 */
#ifndef SOFTMETAL_EXECUTOR_H
#define SOFTMETAL_EXECUTOR_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default) /* for ctypes: everything else is hidden */
#ifdef __cplusplus
extern "C" {
#endif

enum { MSL_BUFFERS = 31, MSL_CONSTANTS = 64 };

typedef struct msl_library msl_library;

/* How much is checked. MSL_FAST: bounds of every buffer by guard pages, divergence, limits.
 * MSL_CHECKED: every load and store besides (bounds by binding, threadgroup memory that nobody
 * wrote, data races inside a threadgroup, and between dispatches that no barrier separates). */
enum msl_mode { MSL_FAST, MSL_CHECKED };

/* Compiles a text of MSL (its includes already inlined, or found under `include_dir`, which may be
 * NULL), after the strict front-end pass. Results are cached on disk by content. NULL: *error is
 * the diagnostics (free it with free()). */
msl_library *msl_compile(const char *source, const char *include_dir, enum msl_mode mode,
                         char **error);
/* The same from a file that msl_compile_to wrote: the software twin of a .metallib. */
int msl_compile_to(const char *source, const char *include_dir, enum msl_mode mode,
                   const char *path, char **error);
msl_library *msl_load(const char *path, char **error);
void msl_release(msl_library *library);

/* Of msl_argument.condition; MSL_DERIVED: a constant that is computed from function constants
 * (`constant bool WHOLE = !SPLIT;`), of which msl_present knows. */
enum { MSL_ALWAYS = -1, MSL_DERIVED = -2 };
enum msl_argument_kind { MSL_DEVICE, MSL_CONSTANT, MSL_THREADGROUP };
typedef struct {
    int index; /* of [[buffer(n)]] or [[threadgroup(n)]] */
    enum msl_argument_kind kind;
    int writable;         /* not a pointer or reference to const */
    size_t element_bytes; /* sizeof what is pointed to */
    size_t alignment;     /* and alignof: of which a buffer's offset has to be a multiple */
    int by_reference;     /* `constant T &`: exactly one element is read */
    int condition;        /* index of the function constant that makes it present, or ... */
    const char *name;
} msl_argument;
typedef struct {
    const char *name;
    int n_arguments;
    const msl_argument *arguments;
    int max_threads; /* a threadgroup; [[max_total_threads_per_threadgroup(n)]] or 1024 */
} msl_function;

int msl_function_count(const msl_library *library);
const msl_function *msl_function_at(const msl_library *library, int index);

enum msl_constant_type { MSL_BOOL, MSL_INT, MSL_FLOAT };
typedef struct {
    int index; /* of [[function_constant(n)]] */
    enum msl_constant_type type;
    const char *name;
} msl_constant;
int msl_constant_count(const msl_library *library);
const msl_constant *msl_constant_at(const msl_library *library, int index);

/* Values of function constants of one pipeline; `defined` has bit n where constant n has one. */
typedef struct {
    uint64_t defined;
    union {
        int32_t i; /* also bool */
        float f;
    } values[MSL_CONSTANTS];
} msl_constants;

typedef struct {
    void *address; /* NULL: nothing is bound */
    size_t length; /* bytes from `address` to the end of the buffer (or of the setBytes copy) */
} msl_binding;

/* Memory that kernels may reach through addresses in other buffers (MTLBuffer.gpuAddress), since it
 * was made resident. */
typedef struct {
    void *address;
    size_t length;
} msl_range;

typedef struct {
    const msl_function *function;
    const msl_constants *constants;
    msl_binding buffers[MSL_BUFFERS];
    size_t threadgroup_bytes[MSL_BUFFERS];
    uint32_t threadgroups[3];
    uint32_t threads[3]; /* a threadgroup */
    const msl_range *resident;
    int n_resident;
    uint64_t epoch;    /* dispatches of one epoch have no barrier between them (checked mode) */
    uint64_t dispatch; /* a number of its own */
} msl_dispatch;

/* What went wrong: the kernel, file:line, thread and threadgroup, and the fault in words. */
typedef struct {
    char text[1024];
} msl_fault;

/* Compiles a kernel for its constants ahead of the first msl_execute, as the making of a pipeline
 * does. -1 and *fault: a constant that the kernel uses has no value, or the compiler failed. */
int msl_prepare(msl_library *library, const msl_function *function, const msl_constants *constants,
                msl_fault *fault);

/* Whether argument `argument` of the function is there with these constants: 1 or 0, or -1 as
 * msl_prepare. */
int msl_present(msl_library *library, const msl_function *function, const msl_constants *constants,
                int argument);

/* Runs a dispatch to its end on n_workers cores, threadgroups in parallel. 0, or -1 and *fault: the
 * first fault stops the dispatch; nothing crashes. Dispatches are serialised by the caller. */
int msl_execute(msl_library *library, const msl_dispatch *dispatch, int n_workers,
                msl_fault *fault);

/* Buffer memory between guard pages, its end flush with the guard behind as far as an alignment of
 * 16 bytes allows. */
void *msl_allocate(size_t length);
void msl_free(void *address, size_t length);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif
