# cython: language_level=3
"""Thin bindings of native/gguf: the checked index of a mapped GGUF file, and its strings."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t

from smelt.errors import ModelFormatError

cdef extern from "Python.h":
    bytes PyBytes_FromStringAndSize(const char *text, Py_ssize_t length)
    str PyUnicode_DecodeUTF8(const char *text, Py_ssize_t length, const char *errors)

cdef extern from "gguf/reader.h" nogil:
    enum: GGUF_OK, GGUF_NO_MEMORY, GGUF_VALUE_TYPES, GGUF_STRING, GGUF_ARRAY
    enum: GGUF_SUBJECT_FILE, GGUF_SUBJECT_PAIR
    ctypedef struct gguf_span:
        uint64_t offset
        uint64_t length
    ctypedef struct gguf_pair:
        gguf_span key
        gguf_span value
        uint32_t type
        uint32_t element
        uint64_t count
    ctypedef struct gguf_format:
        const char *name
        int supported
    ctypedef struct gguf_tensor:
        gguf_span name
        gguf_span data
        const gguf_format *format
        uint32_t type
        uint32_t n_dims
        uint64_t *dims
    ctypedef struct gguf_index:
        uint32_t version
        uint32_t alignment
        uint64_t n_pairs
        uint64_t n_tensors
        gguf_pair *pairs
        gguf_tensor *tensors
    ctypedef struct gguf_error:
        char *message
        int subject
        uint64_t number
        gguf_span name
    int gguf_read(const uint8_t *file, uint64_t nbytes, gguf_index *index, gguf_error *error)
    void gguf_free(gguf_index *index)
    int gguf_next_string(const uint8_t *file, uint64_t nbytes, uint64_t *position, gguf_span *text)
    char gguf_value_code(uint32_t type)

STRING = GGUF_STRING
ARRAY = GGUF_ARRAY
VALUE_CODES = {
    number: chr(gguf_value_code(number))
    for number in range(GGUF_VALUE_TYPES)
    if gguf_value_code(number)
}


cdef bytes span_bytes(const uint8_t *file, gguf_span span):
    return PyBytes_FromStringAndSize(<const char *> file + span.offset, <Py_ssize_t> span.length)


cdef str describe(const uint8_t *file, gguf_error *error):
    """The refusal in words: which key or tensor, then what was expected and found."""
    cdef str message = (<bytes> error.message).decode()
    if error.subject == GGUF_SUBJECT_FILE:
        return message
    cdef str kind = "key" if error.subject == GGUF_SUBJECT_PAIR else "tensor"
    if error.name.length == 0:
        return f"{kind} number {error.number + 1}: {message}"
    error.name.length = min(error.name.length, 100)
    return f"{kind} {span_bytes(file, error.name).decode('utf-8', 'replace')!r}: {message}"


cdef tuple pair_fields(const uint8_t *file, gguf_pair *pair):
    return (span_bytes(file, pair.key), pair.type, pair.element, pair.count,
            pair.value.offset, pair.value.length)


cdef tuple tensor_fields(const uint8_t *file, gguf_tensor *tensor):
    cdef uint32_t i
    cdef str name = f"type {tensor.type}"
    cdef bint supported = False
    if tensor.format != NULL:
        name = (<bytes> tensor.format.name).decode()
        supported = tensor.format.supported
    shape = tuple([tensor.dims[tensor.n_dims - 1 - i] for i in range(tensor.n_dims)])
    return (span_bytes(file, tensor.name), shape, name, supported, tensor.type,
            tensor.data.length, tensor.data.offset)


def read_index(str path, uintptr_t address, size_t nbytes):
    """Check the GGUF file of `nbytes` bytes mapped at `address` and return its index.

    The result is (version, alignment, pairs, tensors). A pair is (key, type, element type, count,
    offset, nbytes), where offset and nbytes locate the scalar, the text or the array's elements; a
    tensor is (name, shape in NumPy order, format, supported, type, nbytes, offset). Keys and names
    are bytes, offsets count from the start of the file.

    Raises ModelFormatError, naming `path` and the key or tensor.
    """
    cdef const uint8_t *file = <const uint8_t *> address
    cdef gguf_index index
    cdef gguf_error error
    cdef uint64_t i
    cdef int status
    with nogil:
        status = gguf_read(file, nbytes, &index, &error)
    try:
        if status == GGUF_NO_MEMORY:
            raise MemoryError(f"{path}: no memory for the index of the file")
        if status != GGUF_OK:
            raise ModelFormatError(f"{path}: {describe(file, &error)}")
        return (
            index.version,
            index.alignment,
            [pair_fields(file, &index.pairs[i]) for i in range(index.n_pairs)],
            [tensor_fields(file, &index.tensors[i]) for i in range(index.n_tensors)],
        )
    finally:
        gguf_free(&index)


def read_strings(str path, uintptr_t address, size_t nbytes, uint64_t offset, uint64_t count, bint raw):
    """The `count` strings that begin at `offset` of the file mapped at `address`, and their end.

    They are bytes if `raw`, otherwise str in which U+FFFD stands for bytes that are not UTF-8.
    Raises ModelFormatError where they leave the file, which read_index has excluded unless the
    file has been rewritten since.
    """
    cdef const uint8_t *file = <const uint8_t *> address
    cdef const char *text
    cdef list strings = []
    cdef gguf_span span
    cdef uint64_t i
    for i in range(count):
        if gguf_next_string(file, nbytes, &offset, &span) != GGUF_OK:
            raise ModelFormatError(f"{path}: the file was changed while it was open: open it again")
        text = <const char *> file + span.offset
        if raw:
            strings.append(PyBytes_FromStringAndSize(text, <Py_ssize_t> span.length))
        else:
            strings.append(PyUnicode_DecodeUTF8(text, <Py_ssize_t> span.length, "replace"))
    return strings, offset
