# cython: language_level=3
"""Thin bindings of the CPU device (native/cpu/cpu.h). Addresses come from NumPy arrays that the
caller keeps alive; shapes and types are checked in backends/cpu.py. A step is copied
(_program.pxd)."""

from libc.stdint cimport int32_t, int64_t, uintptr_t
from smelt._program cimport (
    PAGE_TOKENS, STEP_BAD_CACHE, STEP_BAD_PLACE, STEP_BAD_TOKEN, STEP_CANCELLED, STEP_FORKED,
    STEP_INTERRUPTED, STEP_TOO_LARGE, end_step, native_step, op_record, program_tables,
    step_t, value_record, weight_record,
)

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept

cdef extern from *:
    """
    #include <stddef.h>
    #include "program.h"

    static const char *const smelt_op_names[] = {
    #define OP(name, ...) #name,
    #include "ops.def"
    };

    typedef struct { const char *name; int offset, count, is_float; } smelt_field;
    #define SMELT_IS_int32_t 0
    #define SMELT_IS_float 1
    static const smelt_field smelt_fields[] = {
    #define FIELD(type, name) {#name, (int)offsetof(op_record, name), 1, SMELT_IS_##type},
    #define ARRAY(type, name, count) {#name, (int)offsetof(op_record, name), count, SMELT_IS_##type},
    #include "op_record.def"
    };
    enum { SMELT_FIELD_COUNT = sizeof smelt_fields / sizeof *smelt_fields };

    #if defined(__clang__)
    #define SMELT_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define SMELT_COMPILER "gcc " __VERSION__
    #else
    #define SMELT_COMPILER "unknown"
    #endif
    """
    const char *SMELT_COMPILER
    const char *smelt_op_names[]
    ctypedef struct smelt_field:
        const char *name
        int offset
        int count
        int is_float
    const smelt_field smelt_fields[]
    int SMELT_FIELD_COUNT

cdef extern from "cpu/packed.h":
    enum: PACKED_LAYOUT

cdef extern from "cpu/cpu.h" nogil:
    enum: OP_COUNT
    enum: FORMAT_F64
    enum: ROWS_TOKENS
    enum: ROWS_LOGITS
    enum: VALUE_IS_LOGITS
    enum: KV_F16
    enum: KV_F32
    ctypedef struct cpu_device:
        pass
    ctypedef struct cpu_program:
        pass
    ctypedef struct cpu_kv:
        pass
    int cpu_isa_count()
    const char *cpu_isa_name(int isa)
    int cpu_isa_available(int isa)
    const char *cpu_isa_need(int isa, int i, int *is_here)
    const char *cpu_unused_feature(int i, int *is_here)
    ctypedef struct cpu_tiles:
        int tile_tokens
        int tile_rows
        int dot_tokens
        int heads
    cpu_tiles cpu_isa_tiles(int isa)
    cpu_device *cpu_device_create(int isa, int n_threads)
    void cpu_device_destroy(cpu_device *device)
    size_t cpu_packed_bytes(int fmt, int n_out, int n_in)
    int cpu_pack(cpu_device *device, const weight_record *source, void *to, size_t stride)
    void cpu_touch(cpu_device *device, void *fresh, size_t n_bytes)
    cpu_program *cpu_program_create(cpu_device *device, const program_tables *tables, int *bad_op)
    void cpu_program_destroy(cpu_program *program)
    const float *cpu_program_value(const cpu_program *program, int value)
    cpu_kv *cpu_kv_create(int n_layers, int n_kv_heads, int head_dim, int type)
    void cpu_kv_destroy(cpu_kv *kv)
    int cpu_kv_grow(cpu_kv *kv, int n_pages)
    int64_t cpu_kv_page_bytes(const cpu_kv *kv)
    int cpu_kv_read(const cpu_kv *kv, int page, int layer, int first, int end, float *keys,
                    float *values)
    ctypedef struct cpu_statistics:
        pass
    ctypedef struct cpu_rows:
        pass
    void cpu_add_statistics(int isa, const cpu_rows *rows, int n, cpu_statistics *statistics)
    double cpu_read_rate(cpu_device *device, const void *memory, size_t bytes, size_t ahead)
    double cpu_fma_rate(cpu_device *device, int64_t rounds)
    double cpu_dot_rate(cpu_device *device, int64_t rounds)
    int cpu_step(cpu_device *device, cpu_program *program, cpu_kv *kv, const step_t *s,
                 const int *cancel, int (*poll)() noexcept)
    enum: CPU_MOST_TOP
    ctypedef struct cpu_top_entry:
        int32_t id
        float logit
    void cpu_top(const float *logits, int n, int k, cpu_top_entry *top)

page_tokens = PAGE_TOKENS
packed_layout = PACKED_LAYOUT
format_f64 = FORMAT_F64
rows_tokens = ROWS_TOKENS
rows_logits = ROWS_LOGITS
value_is_logits = VALUE_IS_LOGITS
most_top = CPU_MOST_TOP
kv_types = {"f16": KV_F16, "f32": KV_F32}
compiler = SMELT_COMPILER.decode("utf-8", "replace").strip()
record_bytes = (sizeof(op_record), sizeof(value_record), sizeof(weight_record))

# Messages of the statuses that are mistakes; the others end a step in an orderly way.
refusals = {
    STEP_BAD_TOKEN: "a token id lies outside the vocabulary",
    STEP_BAD_PLACE: "a position, sequence, page or logit row lies outside its table",
    STEP_TOO_LARGE: "the step has more tokens or logits than its program was planned for",
    STEP_BAD_CACHE: "an op works on another layer or other heads than the KV cache has",
    STEP_FORKED: "the threads of this Engine did not survive a fork: make an Engine in the child",
}


def op_names():
    """The ops of native/ops.def, in the order of enum op."""
    return [smelt_op_names[i].decode("ascii") for i in range(OP_COUNT)]


def record_fields():
    """(name, offset, count, is_float) of every field of an op record."""
    return [
        (smelt_fields[i].name.decode("ascii"), smelt_fields[i].offset, smelt_fields[i].count,
         bool(smelt_fields[i].is_float))
        for i in range(SMELT_FIELD_COUNT)
    ]


def instruction_sets():
    """Names of the instruction sets this machine can run, from the plainest to the widest."""
    return [cpu_isa_name(i).decode("ascii") for i in range(cpu_isa_count()) if cpu_isa_available(i)]


def known_instruction_sets():
    """Names of all instruction sets of this build; a Device takes the index."""
    return [cpu_isa_name(i).decode("ascii") for i in range(cpu_isa_count())]


def instruction_set_needs(int isa):
    """{feature: whether it is here} of one of known_instruction_sets(), by its index."""
    cdef int i = 0, is_here = 0
    cdef const char *name = cpu_isa_need(isa, 0, &is_here)
    needs = {}
    while name is not NULL:
        needs[name.decode("ascii")] = bool(is_here)
        i += 1
        name = cpu_isa_need(isa, i, &is_here)
    return needs


def unused_features():
    """{feature: whether it is here} of what no instruction set of this build uses."""
    cdef int i = 0, is_here = 0
    cdef const char *name = cpu_unused_feature(0, &is_here)
    features = {}
    while name is not NULL:
        features[name.decode("ascii")] = bool(is_here)
        i += 1
        name = cpu_unused_feature(i, &is_here)
    return features


def instruction_set_tiles(int isa):
    """What its kernels keep in registers: see cpu_tiles in native/cpu/cpu.h."""
    return dict(cpu_isa_tiles(isa))


def add_statistics(int isa, uintptr_t rows, int n, uintptr_t statistics):
    """Takes in n cpu_rows; both tables are native/cpu/cpu.h's."""
    if not cpu_isa_available(isa):
        raise ValueError("instruction set")
    with nogil:
        cpu_add_statistics(isa, <const cpu_rows *>rows, n, <cpu_statistics *>statistics)


def packed_bytes(int fmt, int n_out, int n_in):
    """Bytes of a packed matrix; 0 for formats that are used as they are."""
    return cpu_packed_bytes(fmt, n_out, n_in)


cdef int poll() noexcept with gil:
    return PyErr_CheckSignals()


cdef int pending_exception() except? -1:
    return -1  # PyErr_CheckSignals has set the exception


cdef class Device:
    """A pool of threads that runs the kernels of one instruction set."""
    cdef cpu_device *handle
    cdef int cancelled

    def __cinit__(self, int isa, int n_threads):
        self.handle = NULL
        if not cpu_isa_available(isa) or n_threads < 1:
            raise ValueError("instruction set or number of threads")
        self.handle = cpu_device_create(isa, n_threads)
        if self.handle is NULL:
            raise MemoryError("threads of the CPU device")

    def __dealloc__(self):
        cpu_device_destroy(self.handle)

    def cancel(self, bint wanted):
        """Asks a running step to stop between two ops, or takes that back."""
        self.cancelled = wanted

    def pack(self, uintptr_t weight_record_address, uintptr_t to, size_t stride):
        """Packs a matrix on all threads, its groups of 16 rows `stride` bytes apart."""
        cdef const weight_record *source = <const weight_record *>weight_record_address
        cdef cpu_device *handle = self.handle
        cdef int status
        with nogil:
            status = cpu_pack(handle, source, <void *>to, stride)
        if status:
            raise ValueError(f"a format that is not packed, or groups that overlap at {stride} bytes")

    def touch(self, uintptr_t fresh, size_t n_bytes):
        """Has the system back memory that was never written, on all threads: see cpu_touch."""
        cdef cpu_device *handle = self.handle
        with nogil:
            cpu_touch(handle, <void *>fresh, n_bytes)

    def read_rate(self, uintptr_t memory, size_t n_bytes, size_t ahead):
        """Bytes a second at which all threads read memory, each its part and once."""
        cdef cpu_device *handle = self.handle
        cdef double rate
        with nogil:
            rate = cpu_read_rate(handle, <const void *>memory, n_bytes, ahead)
        return rate

    def fma_rate(self, int64_t rounds):
        """float32 operations a second of all threads, in registers."""
        cdef cpu_device *handle = self.handle
        cdef double rate
        with nogil:
            rate = cpu_fma_rate(handle, rounds)
        return rate

    def dot_rate(self, int64_t rounds):
        """The same of int16 products and their int32 sums."""
        cdef cpu_device *handle = self.handle
        cdef double rate
        with nogil:
            rate = cpu_dot_rate(handle, rounds)
        return rate


cdef class Program:
    """A recorded Program, copied, with its arena and scratch memory."""
    cdef cpu_program *handle
    cdef readonly Device device
    cdef readonly int max_tokens
    cdef readonly int max_logits

    def __cinit__(self, Device device, uintptr_t ops, int n_ops, uintptr_t values, int n_values,
                  uintptr_t weights, int n_weights, int max_tokens, int max_logits,
                  int64_t arena_bytes):
        cdef program_tables tables
        cdef int bad_op = -1
        self.handle = NULL
        tables.ops = <const op_record *>ops
        tables.n_ops = n_ops
        tables.values = <const value_record *>values
        tables.n_values = n_values
        tables.weights = <const weight_record *>weights
        tables.n_weights = n_weights
        tables.max_tokens = max_tokens
        tables.max_logits = max_logits
        tables.arena_bytes = arena_bytes
        self.device = device
        self.max_tokens = max_tokens
        self.max_logits = max_logits
        self.handle = cpu_program_create(device.handle, &tables, &bad_op)
        if self.handle is NULL and bad_op >= 0:
            raise ValueError(f"op {bad_op} of the program")
        if self.handle is NULL:
            raise MemoryError("arena of the program")

    def __dealloc__(self):
        cpu_program_destroy(self.handle)

    def value_address(self, int value):
        """Where a value lies, or 0 for the logits."""
        return <uintptr_t>cpu_program_value(self.handle, value)


cdef class PagePool:
    """The memory of the KV cache."""
    cdef cpu_kv *handle

    def __cinit__(self, int n_layers, int n_kv_heads, int head_dim, int kv_type):
        self.handle = cpu_kv_create(n_layers, n_kv_heads, head_dim, kv_type)
        if self.handle is NULL:
            raise MemoryError(
                f"no memory holds a KV cache of {n_layers} layers with {n_kv_heads} heads of {head_dim}"
            )

    def __dealloc__(self):
        cpu_kv_destroy(self.handle)

    @property
    def page_bytes(self):
        """Bytes of one page, all layers together."""
        return cpu_kv_page_bytes(self.handle)

    def grow(self, int n_pages):
        """Makes room for at least n_pages pages; False where there is no memory."""
        return cpu_kv_grow(self.handle, n_pages) == 0

    def read(self, int page, int layer, int first, int end, uintptr_t keys, uintptr_t values):
        """A layer's keys and values in a page: see cpu_kv_read."""
        if cpu_kv_read(self.handle, page, layer, first, end, <float *>keys, <float *>values):
            raise IndexError(f"places {first} to {end} in page {page} of layer {layer}")


def run_step(Program program, PagePool pool, step, uintptr_t logits):
    """One step (backends.base.Step), without the GIL. logits: float32 [n_logits, n_vocab]. Returns
    the status: 0, or a key of `refusals`, or -1 if it was cancelled; raises what a signal handler
    raised, and ValueError or OverflowError for numbers that are no step."""
    cdef step_t s = native_step(step)
    cdef int status
    cdef cpu_device *device = program.device.handle
    cdef cpu_program *handle = program.handle
    cdef cpu_kv *kv = pool.handle
    cdef const int *cancel = &program.device.cancelled
    s.logits = <float *>logits
    with nogil:
        status = cpu_step(device, handle, kv, &s, cancel, poll)
    end_step(&s)
    if status == STEP_INTERRUPTED:
        pending_exception()
    return -1 if status == STEP_CANCELLED else status


def top(uintptr_t logits, int n_rows, int n_vocab, int k):
    """The k largest logits of each row of float32 [n_rows, n_vocab]: lists of (id, logit). ValueError
    unless 1 <= k <= n_vocab and most_top."""
    cdef cpu_top_entry entries[CPU_MOST_TOP]
    cdef const float *row = <const float *>logits
    cdef int i
    if not 1 <= k <= min(n_vocab, CPU_MOST_TOP):
        raise ValueError(f"the {k} largest of {n_vocab} logits")
    rows = []
    for _ in range(n_rows):
        cpu_top(row, n_vocab, k, entries)
        rows.append([(entries[i].id, entries[i].logit) for i in range(k)])
        row += n_vocab
    return rows
