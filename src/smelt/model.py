"""A model file made ready to record: its configuration and its weights, where they are mapped."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .config import Config, infer_config
from .errors import ModelFormatError, UnsupportedModelError
from .gguf_file import GGUFFile
from .graph.ops import Op, Recorder, Weight
from .graph.program import Program, build
from .models import architecture
from .packed_file import ARCHITECTURE as PACKED_ARCHITECTURE

__all__ = ["Model"]

# Tables that old converters wrote and that follow from the metadata.
HARMLESS_TENSORS = (".attn_rot_embd.weight", ".attn_rot_embd")


class Model:
    """A GGUF file with a whole model in it. Nothing is decoded or copied.

    Raises ModelFormatError and UnsupportedModelError as GGUFFile, infer_config and the
    architecture do, and UnsupportedModelError for a tensor in a format smelt cannot compute with.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.file = GGUFFile(path)
        if str(self.file.metadata.get("general.architecture", "")) == PACKED_ARCHITECTURE:
            raise UnsupportedModelError(
                f"{self.file.path}: expected a model, found what `smelt pack` has made of one; "
                "name the model beside it"
            )
        tensors = self.file.tensors
        for tensor in tensors.values():
            if not tensor.supported:
                raise UnsupportedModelError(
                    f"{tensor.file}: tensor {tensor.name} is in format {tensor.format.upper()}, "
                    "which smelt cannot compute with; convert the model to another format"
                )
        metadata = self.file.metadata
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        try:
            self._record = architecture(str(metadata.get("general.architecture", "")))
            self.config: Config = infer_config(metadata, shapes)
        except (ModelFormatError, UnsupportedModelError) as error:
            raise type(error)(f"{self.file.path}: {error}") from None
        self.weights: Mapping[str, Weight] = {
            name: Weight(
                name, tensor.shape, tensor.format, tensor.data, tensor.forget, tensor.mapping
            )
            for name, tensor in tensors.items()
        }

    def record(self, capacity: int) -> list[Op]:
        """The plain ops of one step; capacity: positions a sequence may have.

        UnsupportedModelError if the file has tensors that the architecture would leave out: the
        model would then say something else than its weights mean.
        """
        recorder = Recorder(self.config, self.weights, capacity)
        self._record(recorder)
        left_out = [
            name
            for name in self.weights
            if name not in recorder.used and not name.endswith(HARMLESS_TENSORS)
        ]
        if left_out:
            raise UnsupportedModelError(
                f"{self.file.path}: architecture {self.config.architecture} does not use "
                f"{len(left_out)} of the file's tensors, such as {left_out[0]}; it is a variant "
                "that smelt does not know"
            )
        return recorder.ops

    def program(
        self,
        capacity: int,
        max_tokens: int,
        max_logits: int | None = None,
        fused: bool = True,
        reuse: bool = True,
    ) -> Program:
        """Records and builds a Program for steps of up to max_tokens tokens (see graph.build)."""
        return build(self.record(capacity), max_tokens, max_logits or max_tokens, fused, reuse)
