"""Makes the default model from scratch: vocabulary, corpus, weights, loss curve, perplexity, GGUF.

    python tools/default_model/train.py --out build/default_model

Documents are made by all processor cores while one GPU already trains on the first of them. The
same seed gives the same documents in the same order; weights differ only by the rounding of the
GPU's parallel sums. `--toy` goes through everything in a minute on a CPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from corpus import shard_path
from export import export_both
from model import Llama, ModelConfig, document_mask
from muon import Muon
from torch import Tensor

from tokenizer import BOS, IGNORED, load_tokenizer

N_ROWS_EVALUATED = 512
"""Most rows of a shard on which perplexity is measured while training goes on."""


@dataclass(frozen=True)
class Recipe:
    """All that decides what comes out."""

    seed: int = 1
    n_shards: int = 128
    documents_per_shard: int = 12_000
    documents_for_tokenizer: int = 64_000
    first_shards: int = 12  # what the first steps draw from
    all_shards_at: float = 0.5  # the part of the training after which every shard is in use
    batch_rows: int = 128
    n_steps: int = 10_000
    warmup_steps: int = 200
    matrix_lr: float = 0.02
    vector_lr: float = 0.004
    weight_decay: float = 0.02
    final_lr: float = 0.02  # of the peak, at the end of the cosine
    dense_mask: bool = False  # attention without FlexAttention: slower, for old GPUs
    model: ModelConfig = field(default_factory=ModelConfig)


TOY = Recipe(
    n_shards=2,
    first_shards=1,
    documents_per_shard=200,
    documents_for_tokenizer=3_000,
    batch_rows=4,
    n_steps=24,
    warmup_steps=4,
    model=ModelConfig(n_layers=2),
)


def rows_as_batch(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(tokens, targets, starts of documents) of rows of the corpus [n_rows, context].

    Targets are the next tokens, or -100 where there is nothing to predict.
    """
    tokens = rows & (IGNORED - 1)
    following = torch.roll(rows, -1, 1)
    targets = torch.where(following < IGNORED, following, -100)
    targets[:, -1] = -100
    return tokens, targets.long(), tokens == BOS


class Shards:
    """The shards of a corpus that another process is making, loaded as they appear."""

    def __init__(self, folder: Path, recipe: Recipe, device: str, maker: subprocess.Popen[bytes]):
        self.folder, self.recipe, self.device, self.maker = folder, recipe, device, maker
        self.rows = torch.empty(0, recipe.model.n_ctx, dtype=torch.int32, device=device)
        self.n_loaded = 0

    def wait(self, path: Path) -> np.ndarray:
        """The array of a file, once it is there."""
        while not path.exists():
            if self.maker.poll():
                raise RuntimeError(f"corpus.py ended with code {self.maker.returncode}")
            time.sleep(0.1)
        array: np.ndarray = np.load(path)
        return array.astype(np.int32)

    def held_out(self) -> Tensor:
        rows = torch.from_numpy(self.wait(self.folder / "held_out.npy"))
        return rows[:N_ROWS_EVALUATED].to(self.device)

    def batches(self) -> Iterator[Tensor]:
        """Random rows for every step, from shards that grow in number by a fixed plan.

        The plan makes the order of the training repeatable. Only where the plan asks for shards
        that are not made yet does the training go on with those that are.
        """
        r = self.recipe
        generator = torch.Generator().manual_seed(r.seed)
        for step in count():
            growth = min(1.0, step / (r.all_shards_at * r.n_steps))
            planned = r.first_shards + int(growth * (r.n_shards - r.first_shards))
            while self.n_loaded < planned:
                path = shard_path(self.folder, self.n_loaded)
                if self.n_loaded >= r.first_shards and not path.exists():
                    break
                new = torch.from_numpy(self.wait(path)).to(self.device)
                self.rows = torch.cat((self.rows, new))
                self.n_loaded += 1
            drawn = torch.randint(len(self.rows), (r.batch_rows,), generator=generator)
            yield self.rows[drawn.to(self.device)]


LossFunction = Callable[[Tensor], Tensor]


def loss_function(model: Llama, dense_mask: bool) -> LossFunction:
    """Mean loss of rows of the corpus, compiled and in bf16 on a GPU."""
    context = model.config.n_ctx
    device = str(next(model.parameters()).device)
    on_gpu = "cuda" in device
    loss = torch.compile(model.loss) if on_gpu else model.loss

    def of_rows(rows: Tensor) -> Tensor:
        tokens, targets, starts = rows_as_batch(rows)
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=on_gpu):
            mask = document_mask(starts, context, dense_mask or not on_gpu)
            return loss(tokens, targets, mask)

    return of_rows


def perplexity(loss_of: LossFunction, rows: Tensor, batch_rows: int) -> float:
    """exp of the mean loss over full batches of the rows, each batch counting alike.

    With gradients, though none are wanted: without them, all would be compiled once more.
    """
    starts = range(0, len(rows) - batch_rows + 1, batch_rows)
    losses = [loss_of(rows[start : start + batch_rows]).detach() for start in starts]
    return math.exp(torch.stack(losses).mean().item())


def optimizers(model: Llama, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and gains."""
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    others = [model.embedding.weight, *(p for p in model.parameters() if p.ndim == 1)]
    return [
        Muon(matrices, recipe.matrix_lr, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(others, recipe.vector_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def compile_all(
    model: Llama,
    loss_of: LossFunction,
    steppers: list[torch.optim.Optimizer],
    recipe: Recipe,
) -> None:
    """Has everything compiled, on made-up rows, while the first documents are still being made."""
    rows = torch.full((recipe.batch_rows, recipe.model.n_ctx), 7, dtype=torch.int32)
    rows[:, :: recipe.model.n_ctx // 4] = BOS
    loss_of(rows.to(model.embedding.weight.device)).backward()
    model.zero_grad(set_to_none=True)
    for stepper in steppers:
        if isinstance(stepper, Muon):
            stepper.compile_all()


def learning_rate(progress: float, step: int, recipe: Recipe) -> float:
    """The factor on the peak rates: linear warm-up, then a cosine."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return warm * (recipe.final_lr + (1 - recipe.final_lr) * cosine)


def train(model: Llama, shards: Shards, recipe: Recipe, deadline: float) -> dict[str, object]:
    """Trains in place; the numbers of the run, with the curve as rows of (step, tokens, ...).

    At the deadline, a time of perf_counter(), the schedule is at its end whatever the step: a slow
    machine gets a shorter training, not a broken one.
    """
    loss_of = loss_function(model, recipe.dense_mask)
    steppers = optimizers(model, recipe)
    compile_all(model, loss_of, steppers, recipe)
    held_out = shards.held_out()
    peaks = [group["lr"] for stepper in steppers for group in stepper.param_groups]
    curve: list[tuple[int, int, float, float | None, float]] = []
    losses: list[Tensor] = []
    started = time.perf_counter()
    report_every = max(1, recipe.n_steps // 200)
    for step, rows in enumerate(shards.batches()):
        elapsed = time.perf_counter() - started
        progress = max(step / recipe.n_steps, elapsed / (deadline - started))
        factor = learning_rate(progress, step, recipe)
        groups = [group for stepper in steppers for group in stepper.param_groups]
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * factor
        loss = loss_of(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        last = step + 1 >= recipe.n_steps or progress >= 1
        if (step + 1) % report_every == 0 or last:
            mean = torch.stack(losses).mean().item()
            losses.clear()
            measured = None
            if (step + 1) % (10 * report_every) == 0 or last:
                measured = perplexity(loss_of, held_out, recipe.batch_rows)
            tokens = (step + 1) * rows.numel()
            seconds = time.perf_counter() - started
            curve.append((step + 1, tokens, mean, measured, seconds))
            shown = f", held-out perplexity {measured:.4f}" if measured else ""
            print(
                f"step {step + 1} loss {mean:.4f}{shown}, {tokens / seconds / 1e6:.2f} M tokens/s, "
                f"{shards.n_loaded} shards, {seconds:.0f} s",
                flush=True,
            )
        if last:
            break
    return {
        "steps": step + 1,
        "tokens": (step + 1) * recipe.batch_rows * recipe.model.n_ctx,
        "seconds": time.perf_counter() - started,
        "loss": curve[-1][2],
        "held_out_perplexity": perplexity(loss_of, held_out, recipe.batch_rows),
        "curve": curve,
    }


def write_weights(model: Llama, folder: Path, part_bytes: int = 15_000_000) -> None:
    """The float32 weights as weights-0.npz, weights-1.npz... of at most about `part_bytes`."""
    parts: list[dict[str, np.ndarray]] = [{}]
    size = 0
    for name, tensor in model.state_dict().items():
        array = tensor.float().cpu().numpy()
        if size + array.nbytes > part_bytes and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][name.removeprefix("_orig_mod.")] = array
        size += array.nbytes
    for index, part in enumerate(parts):
        np.savez(folder / f"weights-{index}.npz", **part)


def write_curve(curve: list[tuple[int, int, float, float | None, float]], folder: Path) -> None:
    """curve.csv and curve.png."""
    with (folder / "curve.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "tokens", "loss", "held_out_perplexity", "seconds"])
        writer.writerows(curve)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    tokens = [row[1] / 1e6 for row in curve]
    axis.plot(tokens, [row[2] for row in curve], label="training loss", linewidth=1)
    measured = [(row[1] / 1e6, math.log(row[3])) for row in curve if row[3]]
    axis.plot(*zip(*measured, strict=True), "o", markersize=3, label="held-out loss")
    axis.set(xlabel="million tokens", ylabel="nats per token", yscale="log")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    figure.savefig(folder / "curve.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--work", type=Path, help="folder for the shards (default: OUT/corpus)")
    parser.add_argument("--toy", action="store_true", help="everything, but tiny")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--shards", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--limit-s", type=float, default=3600.0, help="most seconds until the training ends"
    )
    parser.add_argument("--dense-mask", action="store_true", help="do without FlexAttention")
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    args = parser.parse_args()
    recipe = TOY if args.toy else Recipe()
    recipe = replace(recipe, n_steps=args.steps or recipe.n_steps)
    recipe = replace(recipe, n_shards=args.shards or recipe.n_shards, dense_mask=args.dense_mask)
    run(recipe, args.out, args.work or args.out / "corpus", args.limit_s, args.processes)


def start_corpus(recipe: Recipe, folder: Path, processes: int) -> subprocess.Popen[bytes]:
    """corpus.py in the background, in an interpreter that knows nothing of PyTorch."""
    options = {
        "--seed": recipe.seed,
        "--shards": recipe.n_shards,
        "--documents": recipe.documents_per_shard,
        "--tokenizer-documents": recipe.documents_for_tokenizer,
        "--vocab": recipe.model.n_vocab,
        "--context": recipe.model.n_ctx,
        "--processes": processes,
    }
    words = [str(word) for pair in options.items() for word in pair]
    script = Path(__file__).parent / "corpus.py"
    command = [sys.executable, str(script), str(folder), *words]
    return subprocess.Popen(command, start_new_session=True)


def run(recipe: Recipe, out: Path, work: Path, limit_s: float, processes: int) -> None:
    """The whole recipe; everything it makes lies in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    if work.exists():
        shutil.rmtree(work)
    began = time.perf_counter()
    maker = start_corpus(recipe, work, processes)
    torch.manual_seed(recipe.seed)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Llama(recipe.model).to(device)
    print(f"{model.n_parameters():,} parameters on {device}", flush=True)
    shards = Shards(work, recipe, device, maker)
    try:
        numbers = train(model, shards, recipe, began + limit_s)
    finally:
        if maker.poll() is None:
            os.killpg(maker.pid, signal.SIGTERM)  # with its workers
    load_tokenizer(work / "tokenizer.model")  # a look at the markers
    shutil.copy(work / "tokenizer.model", out)
    write_weights(model, out)
    curve = numbers.pop("curve")
    assert isinstance(curve, list)
    numbers |= {
        "parameters": model.n_parameters(),
        "shards": shards.n_loaded,
        "corpus_tokens": shards.rows.numel(),
        "recipe": asdict(recipe),
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor(),
        "torch": torch.__version__,
        "total_seconds": time.perf_counter() - began,
    }
    (out / "training.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(json.dumps(numbers), flush=True)
    write_curve(curve, out)
    export_both(out)


if __name__ == "__main__":
    main()
