"""The corpus: documents made by all processor cores, encoded and packed into rows of the context.

    python tools/default_model/corpus.py FOLDER

writes FOLDER/tokenizer.model, trained on the first documents, and then FOLDER/held_out.npy,
shard_00000.npy and so on: arrays uint16 [n_rows, context] of whole documents, each beginning with
BOS; what is left of a row is filled with EOS that is not to be predicted. The same seed makes the
same files on any number of cores.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from stories.dialogue import Document, make_document

from tokenizer import EOS, IGNORED, encode_document, load_tokenizer, train_tokenizer

__all__ = ["documents", "pack", "shard_path"]

# Far apart, so that no two shards share a document.
_SHARD_STRIDE = 10_000_000
_TOKENIZER_SHARD, _HELD_OUT_SHARD = 9_000, 9_999


class Task(NamedTuple):
    """A shard to be made."""

    path: Path
    tokenizer: Path
    seed: int
    shard: int
    n_documents: int
    context: int
    held_out: bool


def shard_path(folder: Path, index: int) -> Path:
    return folder / f"shard_{index:05}.npy"


def documents(seed: int, shard: int, count: int, held_out: bool = False) -> Iterator[Document]:
    """The documents of a shard. `held_out`: of briefs that no other shard may hold."""
    first = (seed * 10_000 + shard) * _SHARD_STRIDE
    for index in range(count):
        yield make_document(random.Random(first + index), held_out)


def _lines(task: tuple[int, int, int]) -> list[str]:
    """The texts of documents, cut into lines, which SentencePiece wants."""
    texts = (turn.text for document in documents(*task) for turn in document)
    return [line for text in texts for line in text.split("\n") if line]


def pack(encoded: list[list[int]], context: int) -> np.ndarray:
    """Rows uint16 [n_rows, context] of whole documents: each goes where the least is left over.

    Documents that are longer than a row are left out.
    """
    rows: list[list[int]] = []
    by_space: dict[int, list[int]] = {}
    for document in sorted(encoded, key=len, reverse=True):
        need = len(document)
        if need > context:
            continue
        space = next((s for s in range(need, context) if by_space.get(s)), None)
        if space is None:
            row, space = len(rows), context
            rows.append([])
        else:
            row = by_space[space].pop()
        rows[row] += document
        by_space.setdefault(space - need, []).append(row)
    packed = np.full((len(rows), context), EOS | IGNORED, np.uint16)
    for row, tokens in enumerate(rows):
        packed[row, : len(tokens)] = tokens
    return packed


def _make_shard(task: Task) -> None:
    """Writes a shard; its file appears when it is complete."""
    tokenizer = load_tokenizer(task.tokenizer)
    made = documents(task.seed, task.shard, task.n_documents, task.held_out)
    rows = pack([encode_document(tokenizer, document) for document in made], task.context)
    np.random.default_rng(task.seed * 10_000 + task.shard).shuffle(rows)
    partial = task.path.with_suffix(".partial.npy")
    np.save(partial, rows)
    partial.rename(task.path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=128)
    parser.add_argument("--documents", type=int, default=12_000, help="in a shard")
    parser.add_argument("--tokenizer-documents", type=int, default=64_000)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = args.folder / "tokenizer.model"
    part = 1000
    lists = [
        (args.seed, _TOKENIZER_SHARD + i, part) for i in range(args.tokenizer_documents // part)
    ]
    with Pool(args.processes) as pool:
        lines = [line for lines in pool.map(_lines, lists, chunksize=1) for line in lines]
    train_tokenizer(lines, tokenizer, args.vocab, args.processes)
    common = tokenizer, args.seed
    held_out = max(64, args.documents // 4), args.context, True
    tasks = [Task(args.folder / "held_out.npy", *common, _HELD_OUT_SHARD, *held_out)]
    for index in range(args.shards):
        rest = args.documents, args.context, False
        tasks.append(Task(shard_path(args.folder, index), *common, index, *rest))
    with Pool(args.processes) as pool:
        for _ in pool.imap(_make_shard, tasks):
            pass


if __name__ == "__main__":
    main()
