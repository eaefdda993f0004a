"""Writes what train.py made as GGUF files: `python export.py OUT`, to OUT/NAME-F16.gguf and -F32."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType
from sentencepiece import SentencePieceProcessor

from tokenizer import BOS, END, EOS, UNK, load_tokenizer

__all__ = ["CHAT_TEMPLATE", "NAME", "export", "export_both"]

NAME = "smelt-tales-7M"
DESCRIPTION = (
    "A small storyteller: children's stories on request, questions about them, and small talk. "
    "Trained from scratch on text made by a grammar; part of smelt."
)
# Turns of a system are left out: the model was never trained with one.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] in ['user', 'assistant'] %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# Names of a layer's tensors in model.py and in GGUF. The rotary pairs lie side by side in both.
_LAYER_TENSORS = {
    "attention_norm": "attn_norm",
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.output": "attn_output",
    "ffn_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def gguf_name(name: str) -> str:
    """GGUF's name of a tensor of model.py: "layers.3.gate.weight" to "blk.3.ffn_gate.weight"."""
    if name == "embedding.weight":
        return "token_embd.weight"
    if name == "norm.weight":
        return "output_norm.weight"
    _, layer, part = name.split(".", 2)
    return f"blk.{layer}.{_LAYER_TENSORS[part.removesuffix('.weight')]}.weight"


def export(folder: Path, path: Path, half: bool) -> None:
    """Writes the model of a folder to a GGUF file; `half`: matrices in F16, all else in F32."""
    training = json.loads((folder / "training.json").read_text())
    config = training["recipe"]["model"]
    writer = GGUFWriter(path, "llama")
    writer.add_name(NAME)
    writer.add_basename("smelt-tales")
    writer.add_size_label("7M")
    writer.add_author("The smelt authors")
    writer.add_license("MIT")
    writer.add_license_name("MIT licence")
    writer.add_description(DESCRIPTION)
    writer.add_languages(["en"])
    writer.add_tags(["text-generation", "children's stories"])
    writer.add_file_type(LlamaFileType.MOSTLY_F16 if half else LlamaFileType.ALL_F32)
    writer.add_vocab_size(config["n_vocab"])
    writer.add_context_length(config["n_ctx"])
    writer.add_embedding_length(config["d_model"])
    writer.add_block_count(config["n_layers"])
    writer.add_feed_forward_length(config["d_ff"])
    writer.add_head_count(config["n_heads"])
    writer.add_head_count_kv(config["n_kv_heads"])
    writer.add_rope_dimension_count(config["d_model"] // config["n_heads"])
    writer.add_rope_freq_base(config["rope_base"])
    writer.add_layer_norm_rms_eps(config["norm_eps"])
    _add_tokenizer(writer, load_tokenizer(folder / "tokenizer.model"))
    for part in sorted(folder.glob("weights-*.npz")):
        with np.load(part) as arrays:
            for name, array in arrays.items():
                kind = np.float16 if half and array.ndim == 2 else np.float32
                writer.add_tensor(gguf_name(name), array.astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: GGUFWriter, tokenizer: SentencePieceProcessor) -> None:
    ids = range(tokenizer.vocab_size())
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([tokenizer.id_to_piece(i) for i in ids])
    writer.add_token_scores([tokenizer.get_score(i) for i in ids])
    writer.add_token_types([_token_type(tokenizer, i) for i in ids])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_eot_token_id(END)
    writer.add_unk_token_id(UNK)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _token_type(tokenizer: SentencePieceProcessor, token: int) -> TokenType:
    if tokenizer.is_unknown(token):
        return TokenType.UNKNOWN
    if tokenizer.is_control(token):
        return TokenType.CONTROL
    return TokenType.BYTE if tokenizer.is_byte(token) else TokenType.NORMAL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="OUT", help="what train.py was given as --out")
    export_both(parser.parse_args().folder)


def export_both(folder: Path) -> None:
    """The GGUF files of a folder that train.py filled, in F16 and in F32."""
    for half in (True, False):
        path = folder / f"{NAME}-{'F16' if half else 'F32'}.gguf"
        export(folder, path, half)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
