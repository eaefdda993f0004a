"""smelt runs quantised language models (GGUF) from Python.

from smelt import Engine
engine = Engine("model.gguf")
print(engine.generate("Once upon a time", max_tokens=64).text)

Engine() without a path is the storyteller that comes with smelt:
print(Engine().chat("Tell me a story about a fox who is afraid of the dark").text)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    CancelledError,
    ChatTemplateError,
    ContextOverflowError,
    DeviceError,
    ModelFormatError,
    QuantisationError,
    SamplingError,
    SmeltError,
    TokenizerError,
    UnsupportedModelError,
)

if TYPE_CHECKING:
    from .comparison import Comparison, compare
    from .completion import Completion, Piece
    from .default_model import default_model_path
    from .engine import Engine
    from .packed_file import Packed, pack
    from .quantisation import quantize
    from .tokenizer import Tokenizer

__version__ = "0.1.0"

__all__ = [
    "CancelledError",
    "ChatTemplateError",
    "Comparison",
    "Completion",
    "ContextOverflowError",
    "DeviceError",
    "Engine",
    "ModelFormatError",
    "Packed",
    "Piece",
    "QuantisationError",
    "SamplingError",
    "SmeltError",
    "Tokenizer",
    "TokenizerError",
    "UnsupportedModelError",
    "compare",
    "default_model_path",
    "pack",
    "quantize",
]

# Loaded at first use, so that `import smelt` does not pay for NumPy and the kernels.
_LAZY = {
    "Comparison": "comparison",
    "Completion": "completion",
    "Engine": "engine",
    "Packed": "packed_file",
    "Piece": "completion",
    "Tokenizer": "tokenizer",
    "compare": "comparison",
    "default_model_path": "default_model",
    "pack": "packed_file",
    "quantize": "quantisation",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
