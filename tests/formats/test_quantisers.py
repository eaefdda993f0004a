"""The quantisers: against plain rounding, against llama.cpp's files, and their own properties."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smelt import _quant
from smelt.errors import ModelFormatError, QuantisationError
from smelt.formats import FORMATS, Format, decode_native, encode_native
from smelt.gguf_file import GGUFFile

QUANTISED = {name: f for name, f in FORMATS.items() if _quant.quantisable(f.index)}
K_QUANTS = {name: f for name, f in QUANTISED.items() if f.block_weights == 256}

every_quantiser = pytest.mark.parametrize("format", QUANTISED.values(), ids=QUANTISED)

# Codes of the lowest and highest level, and whether there is an offset.
LEVELS = {
    "q8_0": (-128, 127, False),
    "q4_0": (-8, 7, False),
    "q4_1": (0, 15, True),
    "q5_0": (-16, 15, False),
    "q5_1": (0, 31, True),
    "q2_k": (0, 3, True),
    "q3_k": (-4, 3, False),
    "q4_k": (0, 15, True),
    "q5_k": (0, 31, True),
    "q6_k": (-32, 31, False),
}
SUB_BLOCK = {"q2_k": 16, "q3_k": 16, "q6_k": 16}


def encode(format: Format, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Through the blocks and back."""
    return decode_native(format, encode_native(format, weights))


def round_plainly(format: Format, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a quantiser without any search does, with exact scales for every sub-block."""
    low, high, offset = LEVELS[format.name]
    x = weights.astype(np.float64).reshape(-1, SUB_BLOCK.get(format.name, 32))
    if offset:
        least = x.min(axis=1, keepdims=True)
        if format.block_weights == 256:
            least = np.minimum(least, 0)
        scale = (x.max(axis=1, keepdims=True) - least) / high
    else:
        least = 0.0
        peak = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)
        scale = peak / low
    scale = np.where(scale == 0, 1, scale)
    return (np.clip(np.rint((x - least) / scale), low, high) * scale + least).reshape(weights.shape)


def weights_of(kind: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    if kind == "normal":
        x = rng.standard_normal(shape)
    elif kind == "heavy tails":
        x = rng.standard_t(3, shape)
    elif kind == "one sign":
        x = rng.gamma(2.0, 1.0, shape)
    else:
        x = rng.standard_normal(shape) + 3 * rng.standard_normal((*shape[:-1], 1))
    return (0.02 * x).astype(np.float32)


KINDS = ("normal", "heavy tails", "one sign", "shifted")


@every_quantiser
@pytest.mark.parametrize("kind", KINDS)
def test_the_search_beats_plain_rounding(format: Format, kind: str) -> None:
    """Although plain rounding here has exact scales, and the blocks have integer or half ones.

    The search minimises a weighted error. Q6_K's scales are bytes of d that is about 1/128 of the
    greatest, so the exact scales win back a part: 2 % of the error are left to the rounding.
    """
    x = weights_of(kind, (64, 512))
    error = np.square(encode(format, x) - x).sum()
    plain = np.square(round_plainly(format, x) - x).sum()
    assert error < 1.02 * plain


@every_quantiser
def test_gguf_decodes_the_blocks_alike(format: Format) -> None:
    raw = encode_native(format, weights_of("normal", (3, 768)))
    gguf_type = gguf.GGMLQuantizationType(format.gguf_type)
    expected = gguf.quants.dequantize(raw, gguf_type)
    np.testing.assert_array_equal(decode_native(format, raw), expected)
    np.testing.assert_array_equal(format.decode(raw), expected)


@every_quantiser
def test_zeros_stay_zero(format: Format) -> None:
    x = np.zeros((2, 512), np.float32)
    np.testing.assert_array_equal(encode(format, x), x)
    x[0, 300] = 1.0  # other sub-blocks, and blocks, have nothing to do with it
    y = encode(format, x)
    assert abs(y[0, 300] - 1) < 0.01
    assert not y[1].any()
    assert not y[0, :256].any()


@every_quantiser
@pytest.mark.parametrize("value", [0.25, -0.25])
def test_constant_weights(format: Format, value: float) -> None:
    x = np.full(256, value, np.float32)
    np.testing.assert_allclose(encode(format, x), x, rtol=0.01)


@every_quantiser
@pytest.mark.parametrize("n_blocks", [1, 3, 7, 9])
def test_a_block_depends_on_its_own_weights_only(format: Format, n_blocks: int) -> None:
    x = weights_of("heavy tails", (n_blocks, format.block_weights))
    whole = encode_native(format, x)
    alone = [encode_native(format, row) for row in x]
    np.testing.assert_array_equal(whole, alone)
    np.testing.assert_array_equal(encode_native(format, x.reshape(-1)), whole.reshape(-1))
    np.testing.assert_array_equal(encode_native(format, x[::-1]), whole[::-1])


@every_quantiser
@given(power=st.integers(-4, 8), seed=st.integers(0, 1 << 30))
@settings(max_examples=20, deadline=None)
def test_powers_of_two_change_only_the_scales(format: Format, power: int, seed: int) -> None:
    """Every step is homogeneous, so the weights come back multiplied, to the bit, while the
    halves are normal ones."""
    x = 1024 * weights_of("normal", (2, 256), seed)
    factor = np.float32(2.0**power)
    np.testing.assert_array_equal(encode(format, x * factor), encode(format, x) * factor)


@every_quantiser
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_weights_in_range(format: Format, data: st.DataObject) -> None:
    """No block is worse than one of zeros, by more than what the rounding of a half leaves."""
    finite = st.floats(-60000, 60000, width=32)
    values = data.draw(st.lists(finite, min_size=1, max_size=64))
    x = np.resize(np.array(values, np.float32), 256)
    y = encode(format, x).astype(np.float64)
    assert np.isfinite(y).all()
    step = 2.0**-24 * 128  # the smallest half times the largest level: tiny weights
    weight = np.abs(x) + np.sqrt(np.square(x.astype(np.float64)).mean())
    error = np.sqrt((weight * np.square(y - x)).sum())
    assert error <= 1.001 * np.sqrt((weight * np.square(x.astype(np.float64))).sum()) + step


@every_quantiser
def test_weights_too_small_for_a_half_become_zero(format: Format) -> None:
    x = np.full(256, 1e-12, np.float32)
    assert not encode(format, x).any()
    x = weights_of("normal", (256,)) * np.float32(1e-30)
    assert not encode(format, x).any()


@pytest.mark.parametrize("format", K_QUANTS.values(), ids=K_QUANTS)
def test_small_weights_keep_their_shape(format: Format) -> None:
    """Scales near the smallest half are coarse: the integers beside them make it good."""
    x = weights_of("normal", (16, 256)) * np.float32(1e-3)  # about 2e-5
    coarse, fine = encode(format, x), encode(format, x * 1024) / 1024
    assert np.square(coarse - x).sum() < 2 * np.square(fine - x).sum()


REFUSED = [np.nan, np.inf, -np.inf, 3e38]


@pytest.mark.parametrize("name", [*QUANTISED, "f16", "bf16", "f32"])
@pytest.mark.parametrize("value", REFUSED)
def test_what_has_no_place_in_a_block_is_refused(name: str, value: float) -> None:
    format = FORMATS[name]
    x = np.zeros((3, 512), np.float32)
    x[1, 300] = value
    if value == 3e38 and name in ("f32", "bf16"):
        assert encode(format, x)[1, 300] == pytest.approx(value, rel=2**-8)
        return
    with pytest.raises(QuantisationError, match=rf"{format.gguf_name}, found .* at index 812"):
        encode_native(format, x)


@every_quantiser
def test_the_greatest_weights(format: Format) -> None:
    x = np.linspace(-60000, 60000, 256, dtype=np.float32)
    rms = np.sqrt(np.square(encode(format, x) - x).mean())
    assert rms < 0.15 * 60000


@pytest.mark.parametrize(("name", "bits"), [("f32", 24), ("f16", 11), ("bf16", 8)])
def test_floats_are_rounded(name: str, bits: int) -> None:
    x = weights_of("normal", (3, 33))
    np.testing.assert_allclose(encode(FORMATS[name], x), x, rtol=2.0**-bits)


def test_wrong_arrays_are_refused() -> None:
    q4_k = FORMATS["q4_k"]
    with pytest.raises(ModelFormatError, match="255 weights"):
        encode_native(q4_k, np.zeros((2, 255), np.float32))
    with pytest.raises(TypeError, match="float64"):
        encode_native(q4_k, np.zeros(256))
    with pytest.raises(TypeError, match="axis"):
        encode_native(q4_k, np.float32(0))
    with pytest.raises(QuantisationError, match="IQ4_NL"):
        encode_native(FORMATS["iq4_nl"], np.zeros(32, np.float32))
    with pytest.raises(ValueError, match="quantiser"):
        _quant.quantise(FORMATS["f32"].index, 0, 0, 0)
    assert encode_native(q4_k, np.zeros((3, 0), np.float32)).shape == (3, 0)


@every_quantiser
def test_strided_weights(format: Format) -> None:
    x = weights_of("normal", (4, 1024))
    np.testing.assert_array_equal(
        encode_native(format, x[::2, ::2]), encode_native(format, x[::2, ::2].copy())
    )


# The mixture of llama.cpp in which most tensors have the format.
MADE_BY_LLAMA_CPP = {
    name: f"{name.upper()}{'_M' if name in ('q3_k', 'q4_k', 'q5_k') else ''}" for name in QUANTISED
}


@every_quantiser
def test_no_less_exact_than_llama_cpp(shared: Path, format: Format) -> None:
    """The relative error of all weights in the format, beside that of llama.cpp's own file."""
    models = shared / "models"
    ours = theirs = 0.0
    with (
        GGUFFile(models / "prose-code-7m-F16.gguf") as source,
        GGUFFile(models / f"prose-code-7m-{MADE_BY_LLAMA_CPP[format.name]}.gguf") as made,
    ):
        for name, tensor in made.tensors.items():
            if tensor.format == format.name:
                f16 = source.tensors[name]
                x = decode_native(FORMATS["f16"], f16.data)
                ours += np.square(encode(format, x) - x, dtype=np.float64).sum()
                theirs += np.square(decode_native(format, tensor.data) - x, dtype=np.float64).sum()
    assert 0 < ours < theirs
