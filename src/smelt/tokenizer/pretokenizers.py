"""The pre-tokenizers that tokenizer.ggml.pre names: how a text is cut before its bytes are merged.

Patterns and names are those of llama.cpp (src/llama-vocab.cpp, llm_tokenizer_bpe and
llama_vocab::impl::load), which took them from the models' tokenizer.json files. Where llama.cpp had
to bend a pattern to std::regex, the original stands here, as the model was trained with it: letter
case beyond ASCII (tekken, gpt-4o), (?i:...) for English contractions, and white space beyond ASCII
in the character ranges of deepseek-llm and deepseek-coder (there U+3000 counts as punctuation).

A pre-tokenizer is a list of Oniguruma patterns. Each cuts the pieces that the one before left:
every match is a piece, and so is what lies between two matches. Nothing is lost, and a pattern sees
only the piece it cuts.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UnsupportedModelError

__all__ = ["PRE_TOKENIZERS", "PreTokenizer", "pre_tokenizer"]


@dataclass(frozen=True)
class PreTokenizer:
    """How one family of models cuts text."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    """A piece that is a token is that token, whatever the merges would make of it."""
    add_bos: bool = False
    """Whether the beginning-of-text token is added where the file does not say."""


_SUFFIXES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_LINES = r"\s*[\r\n]+"
_SPACES = r"\s+(?!\S)|\s+"


def _any(*patterns: str) -> str:
    return "|".join(patterns)


_GPT2 = _any(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+", _SPACES)
_LLAMA3 = _any(_SUFFIXES, _WORD, r"\p{N}{1,3}", _SYMBOLS, _LINES, _SPACES)
_QWEN2 = _any(_SUFFIXES, _WORD, r"\p{N}", _SYMBOLS, _LINES, _SPACES)

_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED_WORD = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+"
_UPPER_WORD = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_PATHS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_GPT_4O_WORDS = _any(_CASED_WORD + _SUFFIXES + "?", _UPPER_WORD + _SUFFIXES + "?")

_DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    _any(
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+""",
        r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
        r" ?[\p{P}\p{S}]+[\r\n]*",
        _LINES,
        _SPACES,
    ),
)
_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_PUNCTUATION = r"[\p{P}\$\+<=>\^~\|%s]+"
_BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
# Letters that have case, as the authors of DeepSeek LLM listed them.
_CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"
    "\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd"
    "\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d"
    "\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec"
    "\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b"
    "\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787"
    "\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)

# names: pre-tokenizer
_FAMILIES = {
    ("default",): PreTokenizer((_PUNCTUATION % "", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    (
        "a.x-4.0", "exaone4", "gigachat", "gpt-2", "granite-docling", "jais", "mellum", "mpt",
        "olmo", "phi-2", "trillion",
    ): PreTokenizer((_GPT2,)),
    (
        "codeshell", "command-r", "exaone", "mellum2", "minerva-7b", "refact", "smollm",
        "starcoder",
    ): PreTokenizer((r"\p{N}", _GPT2)),
    (
        "falcon-h1", "falcon3", "lfm2", "llama-bpe", "llama-v3", "llama3", "midm-2.0", "pixtral",
    ): PreTokenizer((_LLAMA3,), ignore_merges=True, add_bos=True),
    ("chatglm-bpe", "dbrx", "glm4", "smaug-bpe"): PreTokenizer((_LLAMA3,)),
    (
        "deepseek-r1-qwen", "grok-2", "hunyuan", "kormo", "megrez", "qwen2", "solar-open",
        "stablelm2",
    ): PreTokenizer((_QWEN2,)),
    ("qwen35",): PreTokenizer(
        (
            _any(
                _SUFFIXES,
                r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
                r"\p{N}",
                r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
                _LINES,
                _SPACES,
            ),
        )
    ),
    ("deepseek-llm",): PreTokenizer(
        (
            r"[\r\n]",
            rf"\s?[{_CASED}]+",
            "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
            r"(?<!\s)\s+$",  # \s+$ in the original: the same matches, but in quadratic time
            _CJK,
            r"\p{N}+",
        )
    ),
    ("deepseek-coder",): PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}")),
    ("deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"): PreTokenizer(_DEEPSEEK_V3),
    ("falcon",): PreTokenizer((_PUNCTUATION % "`", _GPT2, "[0-9][0-9][0-9]")),
    ("tekken",): PreTokenizer(
        (_any(_CASED_WORD, _UPPER_WORD, r"\p{N}", _PATHS, _LINES, _SPACES),),
        ignore_merges=True,
        add_bos=True,
    ),
    ("gpt-4o", "kanana2", "llama4", "minimax-m2", "talkie"): PreTokenizer(
        (_any(_GPT_4O_WORDS, r"\p{N}{1,3}", _PATHS, _LINES, _SPACES),)
    ),
    ("bloom", "gpt3-finnish", "poro-chat"): PreTokenizer((_BLOOM,)),
    ("viking",): PreTokenizer((_BLOOM, r"\p{N}")),
    ("bailingmoe", "bailingmoe2", "llada-moe"): PreTokenizer(
        (
            _any(
                r"'(?i:[sdmt]|ll|ve|re)", _WORD, r"\p{N}", _SYMBOLS, r"\s*[\r\n]", _SPACES
            ),
        )
    ),
    ("seed-coder",): PreTokenizer(
        (_any(_SUFFIXES, _WORD, r"\p{N}", r" ?[^\s\p{L}\p{N}]+", _LINES, _SPACES),)
    ),
}  # fmt: skip

PRE_TOKENIZERS = {name: rules for names, rules in _FAMILIES.items() for name in names}


def pre_tokenizer(name: str, where: str) -> PreTokenizer:
    """The pre-tokenizer of this name; UnsupportedModelError where it is not known.

    A guess would cut most texts right and some wrong, and nobody would see why the model is worse.
    """
    try:
        return PRE_TOKENIZERS[name]
    except KeyError:
        raise UnsupportedModelError(
            f"{where}key 'tokenizer.ggml.pre': pre-tokenizer {name[:80]!r} is not known to smelt, "
            f"which knows {', '.join(sorted(PRE_TOKENIZERS))}"
        ) from None
