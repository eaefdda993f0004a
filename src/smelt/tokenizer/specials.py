"""Special tokens: which of them end a generation, and text split at their spellings."""

from __future__ import annotations

from collections.abc import Iterator

from .fields import Fields
from .vocabulary import TokenType, Vocabulary

__all__ = ["Splitter", "settle_specials"]

# The tables below follow llama.cpp, src/llama-vocab.cpp, llama_vocab::impl::load: files do not say
# which tokens end a generation, so every engine knows the well-known spellings.
_END_TEXTS = (
    "</s>",
    "<EOT>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|call|>",
    "<|calls|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|flush|>",
    "<|im_end|>",
    "<|return|>",
    "<|tool_response>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "[EOS]",
    "[EOT]",
    "[e~[",
    "_<EOT>",
)
# Fill-in-the-middle tokens: the key that names one, the spellings that are tried without it, and
# whether it ends a generation.
_INFILL = (
    ("fim_pre", ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\uff5cfim\u2581begin\uff5c>",
                 "<PRE>", "\u2581<PRE>", "<|code_prefix|>", "<|prefix|>"), False),
    ("fim_suf", ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<\uff5cfim\u2581hole\uff5c>",
                 "<SUF>", "\u2581<SUF>", "<|code_suffix|>", "<|suffix|>"), False),
    ("fim_mid", ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\uff5cfim\u2581end\uff5c>",
                 "<MID>", "\u2581<MID>", "<|code_middle|>", "<|middle|>"), False),
    ("fim_pad", ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"), True),
    ("fim_rep", ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"), True),
    ("fim_sep", ("<|file_sep|>",), True),
)  # fmt: skip
# Channels of a chat format that the reader of an answer needs to see.
_SHOWN_TEXTS = ("<|channel|>", "<|constrain|>", "<|message|>", "<|start|>")
# Where all of these spellings end a generation, the last one does not: it ends only one message.
_NOT_AN_END = (
    ({"<|return|>", "<|call|>"}, "<|end|>", TokenType.USER_DEFINED),
    ({"<|return|>", "<|calls|>"}, "<|end|>", TokenType.USER_DEFINED),
    ({"<|flush|>", "<|call|>"}, "<|end|>", TokenType.USER_DEFINED),
    ({"<|flush|>", "<|calls|>"}, "<|end|>", TokenType.USER_DEFINED),
    ({"<|tool_response>"}, "</s>", TokenType.NORMAL),
)
# What C calls white space: llama.cpp strips no other.
_SPACE = frozenset(" \t\n\v\f\r")


def settle_specials(vocabulary: Vocabulary, fields: Fields, eos: int | None) -> frozenset[int]:
    """The ids that end a generation. Well-known special tokens get the type they should have.

    Converters leave "<|im_end|>" and its like as normal tokens in some files; their type here
    becomes CONTROL, as it does in llama.cpp.
    """
    n_vocab = len(vocabulary)
    named = (
        eos,
        fields.token_id("eot_token_id", n_vocab),
        fields.token_id("eom_token_id", n_vocab),
    )
    ends = {token for token in named if token is not None}
    for key, texts, is_end in _INFILL:
        token = fields.token_id(f"{key}_token_id", n_vocab)
        if token is None:
            token = next((vocabulary.ids[text] for text in texts if text in vocabulary.ids), None)
            if token is None:
                continue
            vocabulary.types[token] = TokenType.CONTROL
        if is_end:
            ends.add(token)
    for text in _END_TEXTS:
        if text in vocabulary.ids:
            ends.add(vocabulary.ids[text])
            vocabulary.types[vocabulary.ids[text]] = TokenType.CONTROL
    for text in _SHOWN_TEXTS:
        if text in vocabulary.ids:
            vocabulary.types[vocabulary.ids[text]] = TokenType.USER_DEFINED
    spellings = {vocabulary.tokens[token] for token in ends}
    for present, text, kind in _NOT_AN_END:
        if present <= spellings and text in spellings:
            ends.discard(vocabulary.ids[text])
            vocabulary.types[vocabulary.ids[text]] = kind
    return frozenset(ends)


class Splitter:
    """Text split at special tokens.

    As in llama.cpp, the longest spelling comes first: it is taken wherever it occurs, then the
    next longest in what is left. User-defined tokens are always recognised, control tokens and
    the unknown token only on request.
    """

    # Stands for text that is already taken. Texts with surrogates never get here.
    _TAKEN = "\ud800"

    def __init__(self, vocabulary: Vocabulary, model_name: str) -> None:
        special = vocabulary.of_types(TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
        spelled = [(vocabulary.tokens[token], token) for token in special]
        spelled = [(text, token) for text, token in spelled if text]
        spelled.sort(key=lambda pair: len(pair[0].encode()), reverse=True)
        self._all = spelled
        self._always = [
            (text, token)
            for text, token in spelled
            if vocabulary.types[token] == TokenType.USER_DEFINED
        ]
        self._on_request = [
            text
            for text, token in spelled
            if vocabulary.types[token] != TokenType.USER_DEFINED and len(text) > 1
        ]
        self._strips = _strips_after(vocabulary, special, model_name)

    def mark(self, text: str, mark: str) -> str:
        """The text with `mark` inside every spelling that would be taken only on request."""
        for spelling in self._on_request:
            if spelling in text:
                text = text.replace(spelling, spelling[:1] + mark + spelling[1:])
        return text

    def split(self, text: str, parse_special: bool) -> Iterator[str | int]:
        """Pieces of text (never empty) and ids of special tokens, in the order of the text."""
        found: list[tuple[int, int, int]] = []
        left = text
        for spelling, token in self._all if parse_special else self._always:
            if spelling in left:
                spans, left = self._take(left, spelling, token in self._strips)
                found += [(start, end, token) for start, end in spans]
        position = 0
        for start, end, token in sorted(found):
            if position < start:
                yield text[position:start]
            yield token
            position = end
        if position < len(text):
            yield text[position:]

    def _take(self, left: str, spelling: str, strips: bool) -> tuple[list[tuple[int, int]], str]:
        """Where a spelling occurs, with the white space it strips, and what is left without it."""
        spans: list[tuple[int, int]] = []
        pieces: list[str] = []
        position = 0
        start = left.find(spelling)
        while start >= 0:
            end = start + len(spelling)
            while strips and left[end : end + 1] in _SPACE:
                end += 1
            spans.append((start, end))
            pieces += left[position:start], self._TAKEN * (end - start)
            position = end
            start = left.find(spelling, end)
        return spans, "".join(pieces) + left[position:]


def _strips_after(vocabulary: Vocabulary, special: list[int], model_name: str) -> frozenset[int]:
    """The special tokens that swallow the white space behind them: those of Phi-3.

    The files do not say so; like llama.cpp, this goes by the model's name.
    """
    name = model_name.lower()
    if "phi-3" not in name and "phi3" not in name:
        return frozenset()
    keep = {"<unk>", "<s>", "<|endoftext|>"}
    return frozenset(token for token in special if vocabulary.tokens[token] not in keep)
