"""Every format's NumPy and C decoders against each other and against the gguf package."""

import re
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from smelt import _quant
from smelt.errors import ModelFormatError
from smelt.formats import FORMATS, Format, by_gguf_type, decode_native

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT.parent / "shared" / "models"

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


def random_blocks(format: Format, n_blocks: int) -> NDArray[np.uint8]:
    """uint8 [n_blocks, block_bytes]: among many there are infinite, NaN and subnormal scales."""
    rng = np.random.default_rng([n_blocks, format.index])
    return rng.integers(0, 256, (n_blocks, format.block_bytes), dtype=np.uint8)


def decode_gguf(format: Format, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(format.gguf_type))


def assert_same_bits(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Equal shapes and bits, signed zeros too; any NaN equals any other."""
    assert actual.dtype == expected.dtype == np.float32
    assert actual.shape == expected.shape
    differ = actual.view(np.uint32) != expected.view(np.uint32)
    differ &= ~(np.isnan(actual) & np.isnan(expected))
    assert not differ.any(), f"{differ.sum()} of {differ.size} weights differ, {actual[differ][:4]}"


def assert_decoders_agree(format: Format, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    expected = decode_gguf(format, raw)
    assert_same_bits(format.decode(raw), expected)
    assert_same_bits(decode_native(format, raw), expected)
    return expected


@every_format
def test_random_bytes(format: Format) -> None:
    weights = assert_decoders_agree(format, random_blocks(format, 4096))
    assert np.isnan(weights).any(), "the bytes were to hold NaN scales too"


@every_format
def test_ordinary_blocks(format: Format) -> None:
    """Blocks of finite weights of moderate size, where no NaN can hide a difference."""
    raw = random_blocks(format, 2048)
    with np.errstate(invalid="ignore"):
        ordinary = (np.abs(decode_gguf(format, raw)) < 1e4).all(axis=1)
    assert ordinary.sum() > 100
    assert_decoders_agree(format, raw[ordinary])


@every_format
@pytest.mark.parametrize("n_blocks", [1, 31, 33, 257])
def test_odd_block_counts(format: Format, n_blocks: int) -> None:
    blocks = random_blocks(format, n_blocks)
    assert_decoders_agree(format, blocks)
    assert_decoders_agree(format, blocks.reshape(1, -1))


@every_format
def test_no_blocks(format: Format) -> None:
    raw = np.empty((3, 0), dtype=np.uint8)
    assert format.decode(raw).shape == decode_native(format, raw).shape == (3, 0)


@every_format
def test_leading_axes_are_kept(format: Format) -> None:
    raw = random_blocks(format, 30).reshape(2, 3, -1)
    weights = format.decode(raw)
    assert weights.shape == (2, 3, 5 * format.block_weights)
    assert_same_bits(decode_native(format, raw), weights)


@every_format
@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_blocks_anywhere_in_memory(format: Format, offset: int) -> None:
    """A mapped tensor may start at any address and is read-only."""
    blocks = random_blocks(format, 33)
    memory = np.zeros(blocks.size + offset, dtype=np.uint8)
    raw = memory[offset:]
    raw[:] = blocks.ravel()
    raw.flags.writeable = False
    expected = format.decode(blocks).ravel()
    assert_same_bits(format.decode(raw), expected)
    assert_same_bits(decode_native(format, raw), expected)


@every_format
def test_strided_rows(format: Format) -> None:
    raw = random_blocks(format, 14)[::2]
    assert_decoders_agree(format, raw)
    wide = np.repeat(raw, 2, axis=1)[:, ::2]
    assert_same_bits(format.decode(wide), format.decode(raw))
    assert_same_bits(decode_native(format, wide), format.decode(raw))


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.gguf")), ids=lambda path: path.stem)
def test_every_tensor_of_a_real_model(shared: Path, path: Path) -> None:
    for tensor in gguf.GGUFReader(path).tensors:
        format = by_gguf_type(tensor.tensor_type)
        assert format is not None
        raw = tensor.data.view(np.uint8)
        weights = assert_decoders_agree(format, raw)
        assert np.isfinite(weights).all(), tensor.name
        assert raw.shape[-1] == format.row_bytes(int(tensor.shape[0])), tensor.name


@every_format
def test_numbers_are_those_of_gguf(format: Format) -> None:
    gguf_type = gguf.GGMLQuantizationType[format.gguf_name]
    assert format.gguf_type == gguf_type
    assert (format.block_weights, format.block_bytes) == gguf.GGML_QUANT_SIZES[gguf_type]
    assert format.name == format.gguf_name.lower()


def test_table_is_in_native_order() -> None:
    assert [format.index for format in FORMATS.values()] == list(range(len(FORMATS)))
    assert [format.name for format in FORMATS.values()] == list(FORMATS)


@pytest.mark.parametrize("gguf_type", [-1, 4, 9, 28, 39, 1 << 40])
def test_unknown_gguf_type_has_no_format(gguf_type: int) -> None:
    assert by_gguf_type(gguf_type) is None


@every_format
def test_row_bytes(format: Format) -> None:
    assert format.row_bytes(0) == 0
    assert format.row_bytes(33 * format.block_weights) == 33 * format.block_bytes
    with pytest.raises(ModelFormatError, match=format.gguf_name):
        format.row_bytes(-format.block_weights)
    if format.block_weights > 1:
        with pytest.raises(ModelFormatError, match=str(format.block_weights)):
            format.row_bytes(format.block_weights + 1)


@every_format
@pytest.mark.parametrize("decoder", [Format.decode, decode_native])
def test_broken_blocks_are_refused(format: Format, decoder) -> None:
    with pytest.raises(ModelFormatError, match=str(format.block_bytes)):
        decoder(format, np.zeros((2, format.block_bytes + 1), dtype=np.uint8))
    with pytest.raises(TypeError, match="uint8"):
        decoder(format, np.zeros(format.block_bytes, dtype=np.int8))
    with pytest.raises(TypeError, match="axis"):
        decoder(format, np.uint8(0))


@pytest.mark.parametrize("index", [-1, len(FORMATS)])
def test_native_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=str(index)):
        _quant.decode(index, 0, 0, 0)


def test_documented_table_is_the_registry() -> None:
    """docs/formats.md lists every format, in order, with its real size."""
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` *\| *([\d.]+) *\| *(\d+) *\| *(\d+) *\|", text, re.MULTILINE)
    assert [(name, float(bits), int(w), int(b)) for name, bits, w, b in rows] == [
        (f.name, 8 * f.block_bytes / f.block_weights, f.block_weights, f.block_bytes)
        for f in FORMATS.values()
    ]
