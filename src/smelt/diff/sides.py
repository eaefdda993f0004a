"""The two sides of `smelt diff`: a model with options, a run file, or another engine's dump."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SmeltError
from ..trace import Run, load_run
from ..trace.arrays import ArrayFile
from ..trace.run_file import ABOUT
from .llama_cpp import DumpFile, DumpRun

__all__ = ["Side", "open_sides", "parse_side"]

OPTIONS = ("device", "isa", "kv", "threads", "fused", "prompt")
DEFAULT_PROMPT = "Once upon a time, there was a little girl who had 3 dogs."


@dataclass(frozen=True)
class Side:
    """A file and how it is to be run. kind: "model", "run" or "dump"."""

    path: Path
    kind: str
    options: dict[str, str] = field(default_factory=dict)


def parse_side(text: str) -> Side:
    """A side from FILE[,device=D][,isa=I][,kv=f16|f32][,threads=N][,fused] for a model, FILE for a
    run file, FILE[,prompt=KEY] for a dump.

    Raises SmeltError for an option that is unknown or does not fit, FileNotFoundError.
    """
    name, *given = [text] if Path(text).exists() else text.split(",")
    options = {}
    for part in given:
        key, equals, value = part.partition("=")
        if key not in OPTIONS or bool(equals) == (key == "fused"):
            raise SmeltError(f"{text}: {part!r} is no option; there are {', '.join(OPTIONS)}")
        options[key] = value
    path = Path(name)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"PK":
        kind = "run" if _is_run(path) else "dump"
    elif name.endswith(".npz"):
        raise SmeltError(f"{path}: expected a .npz file, found one that begins with {magic!r}")
    else:
        kind = "model"
    allowed = {"model": OPTIONS[:-1], "run": (), "dump": OPTIONS[-1:]}[kind]
    for key in options:
        if key not in allowed:
            what = {"model": "model", "run": "run file", "dump": "dump"}[kind]
            raise SmeltError(f"{name} is a {what}, for which there is no option {key}")
    return Side(path, kind, options)


def _is_run(path: Path) -> bool:
    with closing(ArrayFile(path)) as archive:
        return archive.text(ABOUT) is not None


@contextmanager
def _instruction_set(name: str | None) -> Iterator[None]:
    """SMELT_ISA is read when a CPU device is opened, so that one process can have several."""
    if name is None:
        yield
        return
    before = os.environ.get("SMELT_ISA")
    os.environ["SMELT_ISA"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["SMELT_ISA"]
        else:
            os.environ["SMELT_ISA"] = before


def _engine(side: Side) -> Any:
    from ..engine import Engine

    given = side.options
    isa, threads = given.get("isa"), given.get("threads")
    if threads is not None and not (threads.isascii() and threads.isdigit()):
        raise SmeltError(f"{side.path}: threads={threads}: expected a number")
    device = given.get("device", "cpu" if isa else "auto")
    if isa and device != "cpu":
        raise SmeltError(f"{side.path}: isa={isa} is for the device cpu, found device={device}")
    with _instruction_set(isa):
        return Engine(
            side.path,
            device=device,
            threads=None if threads is None else int(threads),
            kv_type=given.get("kv", "f16"),
        )


def open_sides(
    sides: tuple[Side, Side],
    prompt: str | None,
    folder: Path,
    pattern: list[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Run, Run]:
    """The runs of both sides on one prompt; models are traced to files in `folder`.

    prompt: a text (or, for a dump, a prompt's key); None takes that of a run file or a dump, and
    DEFAULT_PROMPT where both sides are models. One side after the other is in memory.
    """
    runs: list[Run | None] = [load_run(s.path) if s.kind == "run" else None for s in sides]
    dumps = [DumpFile(s.path) if s.kind == "dump" else None for s in sides]
    if all(dumps):
        raise SmeltError(
            f"{sides[0].path} and {sides[1].path} are both dumps of another engine; one side must "
            "be a model or a run file of smelt, whose program says what is made from what"
        )
    keys = [
        None if dump is None else dump.choose(side.options.get("prompt", prompt))
        for dump, side in zip(dumps, sides, strict=True)
    ]
    ids = _token_ids(runs, dumps, keys)
    for at, side in enumerate(sides):
        if side.kind != "model":
            continue
        with _engine(side) as engine:
            if ids is None:
                ids = engine.tokenize(DEFAULT_PROMPT if prompt is None else prompt)
            runs[at] = engine.trace(
                ids,
                pattern=pattern or "*",
                path=folder / f"{'ab'[at]}.npz",
                fused="fused" in side.options,
                progress=progress,
            )
    for at, (dump, key) in enumerate(zip(dumps, keys, strict=True)):
        other = runs[1 - at]
        if dump is not None and key is not None and other is not None:
            from ..model import Model

            runs[at] = DumpRun(dump, key, Model(other.info.model), other.n_tokens)
    a, b = runs
    assert a is not None and b is not None
    return a, b


def _token_ids(
    runs: list[Run | None], dumps: list[DumpFile | None], keys: list[str | None]
) -> list[int] | None:
    """Of the first side that has a prompt of its own."""
    for run in runs:
        if run is not None:
            return run.info.token_ids
    for dump, key in zip(dumps, keys, strict=True):
        if dump is not None and key is not None:
            if ids := dump.token_ids(key):
                return ids
            text = dump.prompts.get(key, {}).get("prompt")
            if text is None:
                raise SmeltError(
                    f"{dump.path}: expected a file {dump.path.with_suffix('.json').name} beside "
                    f"it that says which tokens the prompt {key!r} has"
                )
    return None
