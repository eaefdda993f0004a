"""How far one model's predictions are from another's on a text: Kullback-Leibler divergence and its
companions.

Every quantity is defined as by llama.cpp's `llama-perplexity --kl-divergence` (ggml-org/llama.cpp,
tools/perplexity/perplexity.cpp, kl_divergence()), which also has the formulas of the errors. That
tool reads the base model's log probabilities from a file, in which they are 16-bit steps over the
upper 16 nats of each row, and leaves tokens of a probability below e^-16 out of the sum. Here both
models run side by side: nothing is rounded, and nothing left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from .completion import Perplexity
from .errors import SmeltError
from .perplexity import log_probabilities, row_blocks, summarise, text_chunks

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Comparison", "Distribution", "Estimate", "compare"]

PERCENTILES = (0.1, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error (NaN where one token is all there is)."""

    value: float
    stderr: float


@dataclass(frozen=True)
class Distribution:
    """Values of all tokens that were scored.

    percentiles: by percent, interpolated between neighbours; 50 is the median.
    """

    mean: Estimate
    minimum: float
    maximum: float
    percentiles: dict[float, float]


@dataclass(frozen=True)
class Comparison:
    """A model beside a base model, over n_tokens predictions of one text.

    perplexity, base: of the model and of the base model.
    ratio, log_ratio: perplexity over the base's, and its natural logarithm, the mean difference of
        the losses. Their errors are far smaller than those of the perplexities, which both count
        how hard the text is; correlation, of the losses, says how much of them that is.
    divergence: Kullback-Leibler divergence of the next token's distribution from the base's, nats.
    change: of the probability of the text's own next token, model less base; rms_change: the root
        of its mean square ("RMS Δp").
    same_top: share of tokens where both find the same next token most likely.
    """

    n_tokens: int
    n_chunks: int
    n_ctx: int
    perplexity: Perplexity
    base: Perplexity
    ratio: Estimate
    log_ratio: Estimate
    correlation: float
    divergence: Distribution
    change: Distribution
    rms_change: Estimate
    same_top: Estimate


def compare(
    base: Engine,
    model: Engine,
    text: str,
    n_ctx: int = 512,
    *,
    chunks: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compares a model with a base model, chunk by chunk of a text, as Engine.perplexity cuts it.

    chunks: only so many of the first. progress is called with (chunks done, chunks in all).
    Memory: both models' logits of one step, 4 * n_vocab * min(n_ctx, chunk_tokens) bytes each.

    Raises SmeltError where the two have not the same vocabulary or the text is too short, and
    ContextOverflowError where n_ctx exceeds an Engine's.
    """
    _check_vocabularies(base, model)
    pieces, first = text_chunks(base, text, n_ctx, chunks)
    if text_chunks(model, text, n_ctx, chunks)[0] != pieces:
        raise SmeltError(
            f"{_names(base, model)} cut this text into different tokens: their vocabularies are "
            "the same, but not their tokenizers"
        )
    scores = []
    for done, piece in enumerate(pieces, 1):
        scores += list(_scores(base, model, piece, first))
        if progress:
            progress(done, len(pieces))
    return _summary(np.concatenate(scores), len(pieces), n_ctx)


# What is kept of every token that is scored: losses in nats, divergence, change of probability.
SCORE = np.dtype([(name, "f8") for name in ("base", "loss", "divergence", "change", "same_top")])


def _scores(base: Engine, model: Engine, chunk: list[int], first: int) -> Iterator[np.ndarray]:
    """SCORE of ids[first + 1:], some tokens at a time."""
    targets = np.array(chunk[first + 1 :], np.int64)
    both = zip_longest(
        row_blocks(base.logits_in_chunks(chunk, first)),
        row_blocks(model.logits_in_chunks(chunk, first)),
    )
    for base_logits, logits in both:
        n = min(len(logits), len(targets))  # what follows the last token is not known
        log_p, log_q = log_probabilities(base_logits[:n]), log_probabilities(logits[:n])
        score = np.empty(n, SCORE)
        score["same_top"] = log_p.argmax(axis=1) == log_q.argmax(axis=1)
        wanted = np.arange(n), targets[:n]
        score["base"], score["loss"] = -log_p[wanted], -log_q[wanted]
        p = np.exp(log_p)
        score["change"] = np.exp(log_q[wanted]) - p[wanted]
        score["divergence"] = np.einsum("tv,tv->t", p, np.subtract(log_p, log_q, out=log_q))
        targets = targets[n:]
        yield score


def _summary(scores: np.ndarray, n_chunks: int, n_ctx: int) -> Comparison:
    base, loss = scores["base"], scores["loss"]
    log_ratio = _mean(loss - base)
    ratio = float(np.exp(log_ratio.value))
    spread = float(base.std() * loss.std())
    covariance = float(np.mean((base - base.mean()) * (loss - loss.mean())))
    square = _mean(scores["change"] ** 2)
    rms = float(np.sqrt(square.value))
    return Comparison(
        n_tokens=len(scores),
        n_chunks=n_chunks,
        n_ctx=n_ctx,
        perplexity=summarise(loss),
        base=summarise(base),
        ratio=Estimate(ratio, ratio * log_ratio.stderr),
        log_ratio=log_ratio,
        correlation=covariance / spread if spread else float("nan"),
        divergence=_distribution(scores["divergence"]),
        change=_distribution(scores["change"]),
        rms_change=Estimate(rms, square.stderr / (2 * rms) if rms else 0.0),
        same_top=_mean(scores["same_top"]),
    )


def _mean(values: np.ndarray) -> Estimate:
    n = len(values)
    return Estimate(
        float(values.mean()), float(values.std() / np.sqrt(n - 1)) if n > 1 else float("nan")
    )


def _distribution(values: np.ndarray) -> Distribution:
    found = np.percentile(values, PERCENTILES).tolist()
    return Distribution(
        _mean(values),
        float(values.min()),
        float(values.max()),
        dict(zip(PERCENTILES, found, strict=True)),
    )


def _check_vocabularies(base: Engine, model: Engine) -> None:
    sizes = [max(e.config.n_vocab, e.tokenizer.n_vocab) for e in (base, model)]
    if sizes[0] != sizes[1]:
        raise SmeltError(
            f"{_names(base, model)} have vocabularies of {sizes[0]} and {sizes[1]} tokens; only "
            "models with the same vocabulary can be compared"
        )
    for token in range(base.tokenizer.n_vocab):
        texts = base.tokenizer.token_text(token), model.tokenizer.token_text(token)
        if texts[0] != texts[1]:
            raise SmeltError(
                f"{_names(base, model)} have different vocabularies: token {token} is "
                f"{texts[0]!r} in the one and {texts[1]!r} in the other"
            )


def _names(base: Engine, model: Engine) -> str:
    return f"{base.model.file.path} and {model.model.file.path}"
