"""Programs of one op many times over, each on what the one before it made, fed with random rows.

The harness of the tests begins a program with an embed op; behind enough others that no longer
counts. Matrices and norms are not fused with their neighbours: that is measured in whole models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from harness import Feed, cpu_device, make_step

from make_model import random_blocks
from small_config import make_config
from smelt.backends.base import PAGE_TOKENS
from smelt.config import Config
from smelt.graph.ops import Op, Value, Weight
from smelt.graph.program import build

D_MODEL = 2048  # TinyLlama's
Link = Callable[[Feed, str, Value], Value]


def matrices(format: str, n_bytes: int) -> list[Weight]:
    """Random square ones, n_bytes in all. A device packs each of them anew, so that the source can
    be shared; float ones, which it uses as they are, have memory of their own."""
    rng = np.random.default_rng(0)
    data = random_blocks(format, D_MODEL * D_MODEL, D_MODEL**-0.5, rng)
    shared = format not in ("f32", "f16", "bf16")
    return [
        Weight(f"w{i}", (D_MODEL, D_MODEL), format, data if shared else data.copy())
        for i in range(max(1, n_bytes // data.nbytes))
    ]


def ones(n: int = D_MODEL) -> Weight:
    """The gain of a norm."""
    return Weight("gain", (n,), "f32", np.ones(n, "<f4").view(np.uint8))


def rows(feed: Feed, name: str, n_tokens: int, shape: tuple[int, ...]) -> Value:
    """Random float32 [n_tokens, *shape]; rows of heads without the product that gives models
    theirs, which would take longer than what is measured."""
    width = int(np.prod(shape))
    flat = feed.rows(name, np.random.default_rng(0).standard_normal((n_tokens, width), np.float32))
    value = Value(f"{name}_heads", shape)
    feed.ops.append(Op("scale", (flat,), (value,), params={"scale": 1.0}))
    return value


def chain(
    n_links: int,
    link: Link,
    isa: str,
    threads: int,
    n_tokens: int,
    *,
    shape: tuple[int, ...] = (D_MODEL,),
    past: int = 0,
    fused: bool = False,
    config: Config | None = None,
) -> Callable[[], np.ndarray]:
    """A function that runs n_links links over float32 rows of n_tokens tokens, at positions from
    `past` on."""
    config = config or make_config()
    feed = Feed(config, capacity=past + n_tokens)
    value = rows(feed, "x", n_tokens, shape)
    with feed.layer(0):
        for i in range(n_links):
            value = link(feed, f"y{i}", value)
    feed.select("last", value)  # one row: the memory of logits is new in every step
    device = cpu_device(isa, threads)
    loaded = device.load(build(feed.ops, n_tokens, 1, fused))
    pool = device.create_pool(config, "f16")
    n_pages = -(-(past + n_tokens) // PAGE_TOKENS)
    pool.grow(n_pages)
    pages = np.arange(n_pages, dtype=np.int32)[None]
    step = make_step(n_tokens, np.arange(past, past + n_tokens), page_table=pages)
    step = replace(step, logit_rows=np.zeros(1, np.int32))
    return lambda: loaded.run(pool, step)
