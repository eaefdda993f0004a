"""The comparison of two models: against its definitions, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kl_statistics import check_statistics, statistics
from small_engine import N_CTX, SMALL
from smelt import Engine, compare, quantize
from smelt.errors import ContextOverflowError, SmeltError
from smelt.perplexity import BLOCK_ROWS, log_probabilities, row_blocks, text_chunks
from tiny_model import write_tiny_llama

TEXT = "Once upon a time there was the end of it, and that is as it was in the and of you. " * 9


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model in floats, and the same quantised as coarsely as its rows of 64 allow."""
    folder = tmp_path_factory.mktemp("comparison")
    floats = write_tiny_llama(folder / "f32.gguf", **(SMALL | {"format": "f32"}))
    quantised = folder / "q4_0.gguf"
    quantize(floats, quantised, "Q4_0")
    return floats, quantised


@pytest.fixture(scope="module")
def engines(paths: tuple[Path, Path]) -> Iterator[tuple[Engine, Engine]]:
    with Engine(paths[0], threads=1) as base, Engine(paths[1], threads=1) as model:
        yield base, model


@pytest.mark.parametrize("n_ctx", [33, 64, N_CTX])
def test_against_the_definitions(engines: tuple[Engine, Engine], n_ctx: int) -> None:
    result = compare(*engines, TEXT, n_ctx)
    chunks, first = text_chunks(engines[0], TEXT, n_ctx)
    rows = [
        np.concatenate([log_probabilities(engine.logits(chunk)[first:-1]) for chunk in chunks])
        for engine in engines
    ]
    targets = [token for chunk in chunks for token in chunk[first + 1 :]]
    assert (result.n_tokens, result.n_chunks, result.n_ctx) == (len(targets), len(chunks), n_ctx)
    assert result.divergence.mean.value > 0.01  # nats: there is something to be seen
    assert 0 < result.same_top.value < 1
    # float64 on both sides, in another order: some thousand roundings of 2^-53
    check_statistics(result, statistics(*rows, targets, file=False), 1e-11)


def test_perplexities_are_the_engines_own(engines: tuple[Engine, Engine]) -> None:
    result = compare(*engines, TEXT, 64)
    base, model = (engine.perplexity(TEXT, 64) for engine in engines)
    assert (result.base, result.perplexity) == (base, model)
    assert result.ratio.value == pytest.approx(model.value / base.value, rel=1e-12)
    assert result.log_ratio.value == pytest.approx(math.log(model.value / base.value), rel=1e-9)
    assert result.ratio.stderr < model.stderr / base.value


def test_a_model_beside_itself(engines: tuple[Engine, Engine]) -> None:
    result = compare(engines[1], engines[1], TEXT, 64)
    assert result.divergence.minimum == result.divergence.maximum == 0.0
    assert result.rms_change.value == result.rms_change.stderr == 0.0
    assert (result.ratio.value, result.ratio.stderr, result.same_top.value) == (1.0, 0.0, 1.0)
    assert result.correlation == pytest.approx(1.0)


def test_steps_of_the_engines_do_not_matter(paths: tuple[Path, Path]) -> None:
    results = []
    for steps in ((512, 512), (7, 512), (33, 5)):
        base, model = (
            Engine(path, threads=1, chunk_tokens=n) for path, n in zip(paths, steps, strict=True)
        )
        with base, model:
            results.append(compare(base, model, TEXT, 64, chunks=2))
    assert results[0] == results[1] == results[2]


def test_the_first_chunks_and_progress(engines: tuple[Engine, Engine]) -> None:
    calls: list[tuple[int, int]] = []
    result = compare(*engines, TEXT, 64, chunks=2, progress=lambda *done: calls.append(done))
    assert (result.n_chunks, result.n_tokens) == (2, 2 * 31)
    assert calls == [(1, 2), (2, 2)]
    n_all = len(engines[0].tokenize(TEXT)) // 64
    assert compare(*engines, TEXT, 64, chunks=1000).n_chunks == n_all > 2


def test_one_token(engines: tuple[Engine, Engine]) -> None:
    result = compare(*engines, TEXT, 4, chunks=1)
    assert result.n_tokens == 1
    assert math.isnan(result.divergence.mean.stderr) and math.isnan(result.ratio.stderr)


def test_rows_come_in_small_blocks() -> None:
    sizes = [1, 40, 0, 7, BLOCK_ROWS]
    parts = np.split(np.arange(2 * sum(sizes)).reshape(-1, 2), np.cumsum(sizes)[:-1])
    blocks = list(row_blocks(iter(parts)))
    assert {len(block) for block in blocks[:-1]} == {BLOCK_ROWS}
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate(parts))


def test_vocabularies_of_different_sizes(engines: tuple[Engine, Engine], tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "larger.gguf", **(SMALL | {"n_vocab": 400}))
    with Engine(path) as larger, pytest.raises(SmeltError, match=r"larger.* 384 and 400 tokens"):
        compare(engines[0], larger, TEXT, 64)


def test_different_tokens(engines: tuple[Engine, Engine], tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    raw = engines[0].model.file.path.read_bytes()
    piece = "▁once".encode()
    assert raw.count(piece) == 1
    path.write_bytes(raw.replace(piece, "▁onze".encode()))
    with Engine(path) as other, pytest.raises(SmeltError, match=r"token \d+ is '▁once'.*'▁onze'"):
        compare(engines[0], other, TEXT, 64)


def test_different_tokenizers(engines: tuple[Engine, Engine], tmp_path: Path) -> None:
    raw = engines[0].model.file.path.read_bytes()
    at = raw.index(b"tokenizer.ggml.add_bos_token") + len("tokenizer.ggml.add_bos_token") + 4
    path = tmp_path / "no_bos.gguf"
    path.write_bytes(raw[:at] + b"\0" + raw[at + 1 :])
    with Engine(path) as other, pytest.raises(SmeltError, match="different tokens"):
        compare(engines[0], other, TEXT, 64)


def test_texts_and_chunks_that_cannot_be(engines: tuple[Engine, Engine]) -> None:
    with pytest.raises(SmeltError, match="tokens, too few for one chunk of 64"):
        compare(*engines, "the end", 64)
    with pytest.raises(ContextOverflowError, match=str(N_CTX + 1)):
        compare(*engines, TEXT, N_CTX + 1)
