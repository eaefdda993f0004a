"""Writes down what the default model says, for the tests of every other device and day.

    python tools/default_model/record.py

The reference device (float64) continues the prompts and reads tests/default_model/held_out.txt, a
text of stories that training never saw, in every format of tests/default_model/derived.py. The
result is tests/default_model/recorded.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from stories.dialogue import make_document

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "default_model"
PROMPTS = {
    "fox": "Tell me a story about a fox who is afraid of the dark",
    "robot": "Write a story about a shy robot called Rusty in the mill. There should be a violin.",
    "sum": "What is 7 + 8?",
}
N_TOKENS = 40
N_STORIES = 6


def held_out_text() -> str:
    """Stories of briefs that are kept from training."""
    import random

    stories: list[str] = []
    seed = 0
    while len(stories) < N_STORIES:
        document = make_document(random.Random(seed), held_out=True)
        seed += 1
        if [turn.role for turn in document] == ["user", "assistant"] and "\n" in document[1].text:
            stories.append(document[1].text)
    return "\n\n".join(stories) + "\n"


def margins(logits: np.ndarray) -> list[float]:
    """How far the best logit of each row [n, n_vocab] is above the second."""
    best = np.partition(logits, -2, axis=1)[:, -2:]
    return [round(float(margin), 4) for margin in best[:, 1] - best[:, 0]]


def record(path: Path, text: str) -> dict[str, Any]:
    """What the reference device makes of a file."""
    from smelt import Engine

    with Engine(path, device="reference", kv_type="f32") as engine:
        greedy = {}
        for name, prompt in PROMPTS.items():
            completion = engine.chat(prompt, N_TOKENS)
            ids = completion.prompt_token_ids + completion.token_ids
            logits = engine.logits(ids)[len(completion.prompt_token_ids) - 1 : -1]
            greedy[name] = {"token_ids": completion.token_ids, "margins": margins(logits)}
        return {"perplexity": round(engine.perplexity(text).value, 6), "greedy": greedy}


def main() -> None:
    sys.path.insert(0, str(TESTS))
    from derived import RECORDED, derive

    text = held_out_text()
    (TESTS / "held_out.txt").write_text(text, "utf-8")
    formats = {}
    with tempfile.TemporaryDirectory() as folder:
        for format in RECORDED:
            formats[format] = record(derive(format, Path(folder)), text)
            print(f"{format:7} perplexity {formats[format]['perplexity']:.4f}", flush=True)
    recorded = {"prompts": PROMPTS, "formats": formats}
    (TESTS / "recorded.json").write_text(json.dumps(recorded) + "\n", "utf-8")


if __name__ == "__main__":
    main()
