"""The exported file computes in smelt what PyTorch computes; without PyTorch this skips."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("gguf")
model_module = pytest.importorskip("model", exc_type=ImportError)

from export import export  # noqa: E402 - after the checks for what it needs
from stories.dialogue import Turn  # noqa: E402
from train import write_weights  # noqa: E402

from tokenizer import IGNORED, encode_document, load_tokenizer, train_tokenizer  # noqa: E402

TEXTS = [f"the fox met an owl and said hello {i}" for i in range(400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What train.py leaves behind, for a model of random weights with odd sizes."""
    path = tmp_path_factory.mktemp("model")
    train_tokenizer(TEXTS, path / "tokenizer.model", 400, 1)
    config = model_module.ModelConfig(
        n_vocab=400, n_ctx=96, d_model=48, n_layers=2, n_heads=6, n_kv_heads=2, d_ff=80
    )
    torch.manual_seed(3)
    model = model_module.Llama(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    write_weights(model, path, part_bytes=40_000)
    assert len(list(path.glob("weights-*.npz"))) > 1
    recipe = {"recipe": {"model": config.as_dict()}}
    (path / "training.json").write_text(json.dumps(recipe))
    torch.save(model, path / "model.pt")
    return path


@pytest.mark.parametrize("half", [False, True])
def test_logits_equal_those_of_pytorch(folder: Path, tmp_path: Path, half: bool) -> None:
    from smelt import Engine

    model = torch.load(folder / "model.pt", weights_only=False)
    if half:
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.data = parameter.data.half().float()
    export(folder, tmp_path / "model.gguf", half)
    with Engine(str(tmp_path / "model.gguf"), device="reference") as engine:
        ids = engine.tokenize("<|user|>hello<|end|><|assistant|>the fox 12", parse_special=True)
        got = np.asarray(engine.logits(ids))
    with torch.no_grad():
        expected = model(torch.tensor([ids]))[0].numpy()
    # float64 against PyTorch's float32: a rounding of 6e-8 in each of a few hundred sums
    assert np.linalg.norm(got - expected) < 1e-5 * np.linalg.norm(expected)


def test_the_file_tokenizes_as_the_training_did(folder: Path, tmp_path: Path) -> None:
    from smelt import Engine

    export(folder, tmp_path / "model.gguf", half=True)
    document = (Turn("user", "hello\nthe owl, 20!"), Turn("assistant", '"Ünder" the fox'))
    tokenizer = load_tokenizer(folder / "tokenizer.model")
    trained = [t & ~IGNORED for t in encode_document(tokenizer, document)]
    text = "".join(f"<|{turn.role}|>{turn.text}<|end|>" for turn in document)
    with Engine(str(tmp_path / "model.gguf"), device="reference") as engine:
        assert list(engine.tokenize(text, parse_special=True)) == trained


def test_only_answers_are_predicted(folder: Path) -> None:
    document = (Turn("user", "hello"), Turn("assistant", "the fox"))
    tokenizer = load_tokenizer(folder / "tokenizer.model")
    ids = encode_document(tokenizer, document)
    predicted = [t for t in ids if t < IGNORED]
    assert predicted == [*tokenizer.encode("the fox"), 5]
