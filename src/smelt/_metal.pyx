# cython: language_level=3
"""Thin bindings of the Metal device (native/metal/metal.h). Addresses come from NumPy arrays that the
caller keeps alive; shapes and types are checked in backends/metal.py. A step is copied
(_program.pxd)."""

from libc.stdint cimport int32_t, int64_t, uintptr_t
from smelt._program cimport (
    PAGE_TOKENS, STEP_BAD_CACHE, STEP_BAD_PLACE, STEP_BAD_TOKEN, STEP_FORKED, STEP_TOO_LARGE,
    end_step, native_step, op_record, program_tables, step_t, value_record, weight_record,
)

cdef extern from "metal/metal.h" nogil:
    enum: METAL_FAILED
    enum: TOP_MAX
    ctypedef struct top_entry:
        int32_t id
        float logit
    ctypedef struct metal_error:
        char text[1024]
    ctypedef struct metal_device:
        pass
    ctypedef struct metal_buffer:
        pass
    ctypedef struct metal_program:
        pass
    ctypedef struct metal_kv:
        pass
    ctypedef struct metal_info:
        char name[128]
        int64_t max_buffer_bytes
        int64_t working_set_bytes
        int64_t allocated_bytes
        int apple_family
        int residency_sets
        int from_source
    ctypedef struct metal_place:
        metal_buffer *buffer
        int64_t offset
    ctypedef struct metal_statistics:
        int dispatches
        int barriers
        int encoded_ahead
        double encode_seconds
        double gpu_seconds
    metal_device *metal_device_open(const char *metallib, const char *source, metal_error *error)
    void metal_device_close(metal_device *device)
    void metal_device_info(const metal_device *device, metal_info *info)
    metal_buffer *metal_buffer_map(metal_device *device, void *address, size_t length,
                                   metal_error *error)
    metal_buffer *metal_buffer_copy(metal_device *device, const void *data, size_t length,
                                    metal_error *error)
    void metal_buffer_release(metal_buffer *buffer)
    metal_program *metal_program_create(metal_device *device, const program_tables *tables,
                                        const metal_place *places, metal_error *error)
    void metal_program_destroy(metal_program *program)
    const float *metal_program_value(const metal_program *program, int value)
    metal_statistics metal_program_statistics(const metal_program *program)
    metal_kv *metal_kv_create(metal_device *device, int n_layers, int n_kv_heads, int head_dim,
                              int kv_f16, metal_error *error)
    void metal_kv_destroy(metal_kv *kv)
    int metal_kv_grow(metal_kv *kv, int n_pages, metal_error *error)
    int64_t metal_kv_page_bytes(const metal_kv *kv)
    int metal_step(metal_program *program, metal_kv *kv, const step_t *s, int k, top_entry *top,
                   metal_error *error)
    int metal_profile(metal_program *program, metal_kv *kv, const step_t *s, double *seconds,
                      metal_error *error)
    int metal_capture_begin(metal_device *device, const char *path, metal_error *error)
    void metal_capture_end(metal_device *device)

page_tokens = PAGE_TOKENS
top_max = TOP_MAX

refusals = {
    STEP_BAD_TOKEN: "a token id lies outside the vocabulary",
    STEP_BAD_PLACE: "a position, sequence, page or logit row lies outside its table",
    STEP_TOO_LARGE: "the step has more tokens or logits than its program was planned for",
    STEP_BAD_CACHE: "an op works on another layer or other heads than the KV cache has",
    STEP_FORKED: "Metal does not work in a process made by fork: start it by multiprocessing's "
        "'spawn' and make an Engine in it",
}


class MetalError(Exception):
    """What the native side said. backends/metal.py turns it into a DeviceError."""


cdef object said(const metal_error *error):
    return MetalError((<const char *>error.text).decode("utf-8", "replace"))


cdef class Device:
    """A GPU with its kernels, from a .metallib (its path) or else from their source text."""
    cdef metal_device *handle

    def __cinit__(self, str metallib, str source):
        cdef metal_error error
        cdef bytes path = metallib.encode() if metallib is not None else b""
        cdef bytes text = source.encode() if source is not None else b""
        cdef const char *path_or_null = NULL
        cdef const char *text_or_null = text
        self.handle = NULL
        if metallib is not None:
            path_or_null = path
        with nogil:
            self.handle = metal_device_open(path_or_null, text_or_null, &error)
        if self.handle is NULL:
            raise said(&error)

    def __dealloc__(self):
        metal_device_close(self.handle)

    def info(self):
        """A dict of what the GPU is and has."""
        cdef metal_info info
        metal_device_info(self.handle, &info)
        return {
            "name": (<const char *>info.name).decode("utf-8", "replace"),
            "max_buffer_bytes": info.max_buffer_bytes,
            "working_set_bytes": info.working_set_bytes,
            "allocated_bytes": info.allocated_bytes,
            "apple_family": info.apple_family,
            "residency_sets": bool(info.residency_sets),
            "from_source": bool(info.from_source),
        }

    def begin_capture(self, str path):
        """Records the GPU's work from here on in a .gputrace file."""
        cdef metal_error error
        cdef bytes name = path.encode()
        if metal_capture_begin(self.handle, name, &error):
            raise said(&error)

    def end_capture(self):
        metal_capture_end(self.handle)


cdef class Buffer:
    """Memory that the GPU reads: mapped pages as they are (copy=False), or a copy of bytes."""
    cdef metal_buffer *handle
    cdef Device device

    def __cinit__(self, Device device, uintptr_t address, size_t length, bint copy):
        cdef metal_error error
        self.device = device
        if copy:
            self.handle = metal_buffer_copy(device.handle, <const void *>address, length, &error)
        else:
            self.handle = metal_buffer_map(device.handle, <void *>address, length, &error)
        if self.handle is NULL:
            raise said(&error)

    def __dealloc__(self):
        metal_buffer_release(self.handle)


cdef class Program:
    """A recorded Program, copied, with its arena and scratch memory. places: the Buffer of each weight
    and where in it, in bytes. Its command buffers do not retain what they refer to: it does."""
    cdef metal_program *handle
    cdef readonly Device device
    cdef list places
    cdef PagePool pool  # of the last step

    def __cinit__(self, Device device, uintptr_t ops, int n_ops, uintptr_t values, int n_values,
                  uintptr_t weights, int n_weights, list places, int max_tokens,
                  int max_logits, int64_t arena_bytes):
        cdef metal_error error
        cdef program_tables tables
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
        self.places = places
        cdef bytearray table = bytearray((len(places) + 1) * sizeof(metal_place))
        cdef metal_place *place = <metal_place *><char *>table
        for i, (buffer, offset) in enumerate(places):
            place[i].buffer = (<Buffer?>buffer).handle
            place[i].offset = offset
        self.handle = metal_program_create(device.handle, &tables, place, &error)
        if self.handle is NULL:
            raise said(&error)

    def __dealloc__(self):
        metal_program_destroy(self.handle)

    def value_address(self, int value):
        """Where a value lies, or 0 for the logits."""
        return <uintptr_t>metal_program_value(self.handle, value)

    def statistics(self):
        """A dict of what the last step's encoding and the GPU's work took."""
        cdef metal_statistics s = metal_program_statistics(self.handle)
        return {
            "dispatches": s.dispatches,
            "barriers": s.barriers,
            "encoded_ahead": bool(s.encoded_ahead),
            "encode_seconds": s.encode_seconds,
            "gpu_seconds": s.gpu_seconds,
        }


cdef class PagePool:
    """The memory of the KV cache."""
    cdef metal_kv *handle
    cdef Device device

    def __cinit__(self, Device device, int n_layers, int n_kv_heads, int head_dim, bint f16):
        cdef metal_error error
        self.device = device
        self.handle = metal_kv_create(device.handle, n_layers, n_kv_heads, head_dim, f16, &error)
        if self.handle is NULL:
            raise said(&error)

    def __dealloc__(self):
        metal_kv_destroy(self.handle)

    @property
    def page_bytes(self):
        """Bytes of one page, all layers together."""
        return metal_kv_page_bytes(self.handle)

    def grow(self, int n_pages):
        """Makes room for at least n_pages pages; MetalError where there is no memory."""
        cdef metal_error error
        if metal_kv_grow(self.handle, n_pages, &error):
            raise said(&error)


def run_step(Program program, PagePool pool, step, int k, uintptr_t result):
    """One step (backends.base.Step), without the GIL. result: float32 [n_logits, n_vocab] where k is
    0, else top_entry [n_logits, k]. Returns 0 or a key of `refusals`; raises MetalError, and
    ValueError or OverflowError for numbers that are no step."""
    cdef metal_error error
    cdef step_t s = native_step(step)
    cdef metal_program *handle = program.handle
    cdef metal_kv *kv = pool.handle
    cdef int status
    s.logits = <float *>result
    with nogil:
        status = metal_step(handle, kv, &s, k, <top_entry *>result, &error)
    end_step(&s)
    program.pool = pool  # no sooner: until then the program may have a command buffer of the old one
    if status == METAL_FAILED:
        raise said(&error)
    return status


def profile_step(Program program, PagePool pool, step, uintptr_t seconds):
    """The same op by op. seconds: float64 [n_ops], the GPU's time of each."""
    cdef metal_error error
    cdef step_t s = native_step(step)
    cdef int status = metal_profile(program.handle, pool.handle, &s, <double *>seconds, &error)
    end_step(&s)
    if status == METAL_FAILED:
        raise said(&error)
    return status
