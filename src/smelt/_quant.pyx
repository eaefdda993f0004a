# cython: language_level=3
"""The native tensor formats: table, decoders, quantisers. Callers check every address."""

from libc.stdint cimport int8_t, uint16_t, uintptr_t


cdef extern from "formats/formats.h" nogil:
    ctypedef struct format_info:
        const char *name
        const char *gguf_name
        int gguf_type
        int block_weights
        int block_bytes

    const format_info *format_table(int *count)
    int decode_rows(int format, const void *src, float *dst, size_t n_blocks)
    const int8_t iq4_values_table "iq4_values" [16]


cdef extern from "quantise/quantise.h" nogil:
    enum: QUANTISE_OK, QUANTISE_NO_FORMAT
    int can_quantise(int format)
    int quantise_blocks(int format, const float *src, void *dst, size_t n_blocks, size_t *at)


cdef extern from "half.h" nogil:
    uint16_t f32_to_f16(float x)
    uint16_t f32_to_bf16(float x)


def formats():
    """(name, gguf_name, gguf_type, block_weights, block_bytes) of every format, by its index."""
    cdef int count = 0
    cdef const format_info *table = format_table(&count)
    return [
        (
            table[i].name.decode("ascii"),
            table[i].gguf_name.decode("ascii"),
            table[i].gguf_type,
            table[i].block_weights,
            table[i].block_bytes,
        )
        for i in range(count)
    ]


def iq4_values():
    """The sixteen levels of IQ4_NL and IQ4_XS."""
    return tuple([iq4_values_table[i] for i in range(16)])


def decode(int index, uintptr_t src_address, uintptr_t dst_address, size_t n_blocks):
    """Decode uint8 [n_blocks, block_bytes] to float32 [n_blocks, block_weights].

    The source address must be even. Raises ValueError if no format has this index.
    """
    cdef int status
    with nogil:
        status = decode_rows(index, <const void *>src_address, <float *>dst_address, n_blocks)
    if status != 0:
        raise ValueError(f"no tensor format has the index {index}")


def quantisable(int index):
    """Whether the format with this index has a quantiser."""
    return can_quantise(index) != 0


def quantise(int index, uintptr_t src_address, uintptr_t dst_address, size_t n_blocks):
    """Quantise float32 [n_blocks, block_weights] to uint8 [n_blocks, block_bytes].

    The target address must be even. Returns None, or the index of a weight that cannot be stored;
    the target then holds nothing of use. Raises ValueError if the
    format has no quantiser.
    """
    cdef int status
    cdef size_t at = 0
    with nogil:
        status = quantise_blocks(
            index, <const float *>src_address, <void *>dst_address, n_blocks, &at
        )
    if status == QUANTISE_NO_FORMAT:
        raise ValueError(f"the tensor format with the index {index} has no quantiser")
    return None if status == QUANTISE_OK else at


def round_f16(uintptr_t src_address, uintptr_t dst_address, size_t n):
    """Round float32 [n] to halves, uint16 [n]: to nearest, ties to even."""
    cdef const float *src = <const float *>src_address
    cdef uint16_t *dst = <uint16_t *>dst_address
    cdef size_t i
    with nogil:
        for i in range(n):
            dst[i] = f32_to_f16(src[i])


def round_bf16(uintptr_t src_address, uintptr_t dst_address, size_t n):
    """Round float32 [n] to bfloat16, uint16 [n]: to nearest, ties to even."""
    cdef const float *src = <const float *>src_address
    cdef uint16_t *dst = <uint16_t *>dst_address
    cdef size_t i
    with nogil:
        for i in range(n):
            dst[i] = f32_to_bf16(src[i])
