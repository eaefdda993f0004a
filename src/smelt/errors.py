"""Every exception that smelt raises on purpose; all of them derive from SmeltError."""

__all__ = [
    "CancelledError",
    "ChatTemplateError",
    "ContextOverflowError",
    "DeviceError",
    "ModelFormatError",
    "QuantisationError",
    "SamplingError",
    "SmeltError",
    "TokenizerError",
    "UnsupportedModelError",
]


class SmeltError(Exception):
    """Base of all errors that smelt raises on purpose."""


class ModelFormatError(SmeltError):
    """The file is damaged, truncated or contradicts itself."""


class QuantisationError(SmeltError):
    """The model or one of its tensors cannot be stored in the format that was asked for."""


class UnsupportedModelError(SmeltError):
    """The file is sound, but smelt does not know its architecture, tensor format or tokenizer."""


class TokenizerError(SmeltError):
    """The text or the token ids cannot be converted with this model's vocabulary."""


class ChatTemplateError(SmeltError):
    """The model has no chat template, or its template refuses the conversation or fails."""


class ContextOverflowError(SmeltError):
    """A prompt or a position lies beyond the context length."""


class DeviceError(SmeltError):
    """The device is missing, refused a request, ran out of memory or failed in a step."""


class SamplingError(SmeltError):
    """The logits or the sampling parameters cannot give a next token."""


class CancelledError(SmeltError):
    """The step was cancelled between two of its ops."""
