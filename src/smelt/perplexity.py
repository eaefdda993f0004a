"""Perplexity of a text: how it is cut into chunks, what is scored, and the error of the result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from .completion import Perplexity
from .errors import ContextOverflowError, SmeltError

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["chunk_losses", "log_probabilities", "row_blocks", "summarise", "text_chunks"]

BLOCK_ROWS = 16
"""Rows of logits taken at a time in float64: 16 MiB of a vocabulary of 128 Ki tokens."""


def text_chunks(
    engine: Engine, text: str, n_ctx: int, most: int | None = None
) -> tuple[list[list[int]], int]:
    """The text in chunks of n_ctx tokens (the first `most` of them), and which token of each is the
    first whose logits are scored.

    llama.cpp's method (tools/perplexity/perplexity.cpp): the text is tokenised as a whole, a short
    rest is dropped, the first token of each chunk becomes BOS where the model adds one, and tokens
    of the first half are only there to be looked back at.

    Raises ContextOverflowError if n_ctx exceeds the Engine's, SmeltError if it is below 4 or the
    text has fewer tokens.
    """
    if n_ctx < 4:
        raise SmeltError(f"perplexity needs chunks of at least 4 tokens, found n_ctx {n_ctx}")
    if n_ctx > engine.n_ctx:
        raise ContextOverflowError(
            f"perplexity over chunks of {n_ctx} tokens: this Engine's n_ctx is {engine.n_ctx}"
        )
    ids = engine.tokenize(text)
    chunks = [ids[at : at + n_ctx] for at in range(0, len(ids) - n_ctx + 1, n_ctx)][:most]
    if not chunks:
        raise SmeltError(f"the text has {len(ids)} tokens, too few for one chunk of {n_ctx}")
    if engine.tokenizer.add_bos and engine.tokenizer.bos_id is not None:
        for chunk in chunks:
            chunk[0] = engine.tokenizer.bos_id
    return chunks, n_ctx // 2


def row_blocks(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The rows of all parts, BLOCK_ROWS at a time, wherever one part ends."""
    rows = (row for part in parts for row in part)
    while block := list(islice(rows, BLOCK_ROWS)):
        yield np.stack(block)


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Natural logarithms of the softmax of every row, in float64."""
    rows = logits.astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return rows


def chunk_losses(logits: Iterable[np.ndarray], ids: list[int], first: int) -> np.ndarray:
    """Negative log-likelihoods (nats, float64) of ids[first + 1:], each from the logits before it.

    logits: parts of [len(ids) - first, n_vocab], those of the tokens from index `first` on.
    """
    targets = np.array(ids[first + 1 :], np.int64)
    losses = np.empty(len(targets))
    at = 0
    for block in row_blocks(logits):
        rows = log_probabilities(block[: len(targets) - at])
        wanted = targets[at : at + len(rows)]
        losses[at : at + len(rows)] = -rows[np.arange(len(rows)), wanted]
        at += len(rows)
    return losses


def summarise(losses: np.ndarray) -> Perplexity:
    """Perplexity of losses; the standard error is that of the mean, carried through exp."""
    n = len(losses)
    value = float(np.exp(losses.mean()))
    stderr = float(losses.std() / np.sqrt(n - 1)) * value if n > 1 else float("nan")
    return Perplexity(value, stderr, n)
