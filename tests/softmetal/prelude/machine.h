/* The machine on which one threadgroup runs: what the host (worker.cpp) and kernels share.
 *
 * Each worker thread of the host owns one region of memory, aligned to its own size:
 *
 *   | stack of thread 0 | ... | stack of thread 1023 | struct machine ... |
 *
 * so that a kernel finds its machine and its thread's number in the stack pointer alone. Stacks
 * begin a few cache lines apart from each other (COLOUR), or all their tops would share one cache
 * set.
 */
#ifndef SOFTMETAL_MACHINE_H
#define SOFTMETAL_MACHINE_H

namespace softmetal {

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long;

enum : u64 {
    LANES = 32,
    MAX_THREADS = 1024,
    STACK_BYTES = 65536,
    STACKS_BYTES = MAX_THREADS * STACK_BYTES,
    REGION_BYTES = 2 * STACKS_BYTES,
    COLOURS = 64,
    COLOUR_BYTES = 320,
    LANE_STRIDE = STACK_BYTES - COLOUR_BYTES, /* of the same variable in neighbouring lanes */
    BINDINGS = 31,
    THREADGROUP_LIMIT = 32768, /* bytes of threadgroup memory, as on Apple's GPUs */
    THREADGROUP_GAP = 64,      /* bytes between its pieces, that an overrun may be seen */
    THREADGROUP_SPACE = 49152, /* with the gaps */
    STATIC_VARIABLES = 64, /* threadgroup variables declared in one kernel */
    ELEMENTS_OPEN = 1u << 31, /* in matrix_operations: thread_elements() was called since */
};

/* What threads of a threadgroup do together; a rendezvous is a place where all lanes must meet. */
enum operation : u32 {
    NO_OPERATION,
#define OPERATION(name) OP_##name,
#include "operations.def"
};

enum access_kind : u32 { ACCESS_READ, ACCESS_WRITE, ACCESS_ATOMIC, ACCESS_ATOMIC_STORE };

struct simd_group {
    alignas(64) u8 slots[2][LANES * 32];  /* what the lanes bring, of two rendezvous in turn */
    alignas(64) u8 results[2][32];
    u32 parity;   /* of the rendezvous to come */
    u32 lanes;    /* threads of this group */
    u32 arrived;  /* lanes that wait at the rendezvous */
    u32 ended;    /* lanes that returned from the kernel */
    u64 site;     /* operation << 32 | line, of the lanes that wait */
    const char *file;
    u32 last_lane; /* the lane that waits for the other groups at a barrier */
    u32 matrix_operations[LANES]; /* of each lane so far: equal whenever the lanes meet */
    u32 expected_operations; /* of the lanes that wait */
};

struct machine {
    void *stack_pointer[MAX_THREADS];
    void *host_stack_pointer;
    void (*entry)(machine *, u32 thread); /* the kernel */
    /* These do not return: the threadgroup is given up. */
    void (*diverged)(machine *, u32 thread, u32 operation, u32 line, const char *file);
    void (*misaligned)(machine *, u32 thread, u64 address, u32 line, const char *file);
    void *(*static_variable)(machine *, u32 thread, u32 id, u64 bytes, u64 alignment, u32 line,
                             const char *file);
    /* Checked mode: before a load or store; and after a barrier (of one SIMD group, or of all). */
    void (*access)(machine *, u32 thread, u64 address, u64 bytes, u32 kind, void *return_address);
    void (*passed_barrier)(machine *, u32 thread, u32 flags, bool all); /* NULL in fast mode */

    u8 *buffers[BINDINGS];
    u8 *threadgroup_base; /* THREADGROUP_SPACE bytes */
    u8 *threadgroup_memory[BINDINGS];
    void *statics[STATIC_VARIABLES]; /* NULL: no thread of this threadgroup came past yet */
    u32 n_threads;
    u32 n_groups;
    u32 groups_ended;
    u32 groups_at_barrier;
    u64 barrier_site;
    const char *barrier_file;
    u32 threads[3];
    u32 threadgroups[3];
    u32 position[3]; /* of this threadgroup */

    simd_group groups[MAX_THREADS / LANES];
    void *host; /* of the host alone */
};

static_assert(sizeof(machine) < STACKS_BYTES, "a machine lies in the second half of its region");

/* Saves the callee-saved registers and the stack pointer in *from, and goes on at `to`. */
extern "C" void softmetal_switch(void **from, void *to);

} // namespace softmetal
#endif
