"""The default model in PyTorch: a Llama (Touvron et al. 2023, arXiv:2302.13971), for training.

Rotary pairs lie side by side, as in the original Llama and in GGUF files, so that no weight has to
be permuted when it is written. Input and output embeddings are one matrix.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name that PyTorch's own documentation uses
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

__all__ = ["Llama", "ModelConfig", "document_mask"]


@dataclass(frozen=True)
class ModelConfig:
    n_vocab: int = 4096
    n_ctx: int = 1024
    d_model: int = 256
    n_layers: int = 8
    n_heads: int = 8
    n_kv_heads: int = 4
    d_ff: int = 768
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


Mask = BlockMask | Tensor | None


def document_mask(starts: Tensor, context: int, dense: bool) -> Mask:
    """Causal attention inside documents. starts: bool [n_rows, context], true at each first token.

    `dense`: a tensor, bool [n_rows, 1, context, context], for devices without FlexAttention.
    """
    document = starts.cumsum(1, dtype=torch.int32)
    if dense:
        same = document[:, None, :, None] == document[:, None, None, :]
        return same.tril()

    def same_document(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (document[batch, query] == document[batch, key])

    return _compiled_block_mask(
        same_document, len(starts), None, context, context, device=starts.device
    )


_compiled_block_mask = torch.compile(create_block_mask)


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        kv_dim = config.n_kv_heads * config.head_dim
        self.q = nn.Linear(config.d_model, config.d_model, bias=False)
        self.k = nn.Linear(config.d_model, kv_dim, bias=False)
        self.v = nn.Linear(config.d_model, kv_dim, bias=False)
        self.output = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Tensor, rope: Tensor, mask: Mask) -> Tensor:
        """x [n_rows, context, d_model]; mask None: the whole row is one document."""
        c = self.config
        n_rows, context, _ = x.shape
        q = self.q(x).view(n_rows, context, c.n_heads, c.head_dim)
        k = self.k(x).view(n_rows, context, c.n_kv_heads, c.head_dim)
        v = self.v(x).view(n_rows, context, c.n_kv_heads, c.head_dim)
        q, k = _rotate(q, rope).to(v.dtype), _rotate(k, rope).to(v.dtype)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if isinstance(mask, BlockMask):
            y = flex_attention(q, k, v, block_mask=mask, enable_gqa=True)
        else:
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True
            )
        return self.output(y.transpose(1, 2).reshape(n_rows, context, c.d_model))


def _rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021, arXiv:2104.09864) of pairs (2i, 2i + 1), in float32.

    x [n_rows, context, n_heads, head_dim]; rope [context, head_dim / 2, 2] of cosines and sines.
    """
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rope[: x.shape[1], None, :, 0], rope[: x.shape[1], None, :, 1]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config)
        self.ffn_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor, rope: Tensor, mask: Mask) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, mask)
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.n_vocab, config.d_model)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        half = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
        turns = torch.arange(config.n_ctx, dtype=torch.float64)[:, None] * config.rope_base**-half
        rope = torch.stack((turns.cos(), turns.sin()), -1).float()
        self.register_buffer("rope", rope, persistent=False)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        """Normal weights; what is added to the residual stream begins smaller."""
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, Layer):
            for weight in (module.attention.output.weight, module.down.weight):
                nn.init.normal_(weight, std=0.02 / (2 * self.config.n_layers) ** 0.5)

    def forward(self, tokens: Tensor, mask: Mask = None) -> Tensor:
        """Logits [n_rows, context, n_vocab] of token ids [n_rows, context]."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.rope, mask)
        return F.linear(self.norm(x), self.embedding.weight)

    def loss(self, tokens: Tensor, targets: Tensor, mask: Mask) -> Tensor:
        """Mean cross entropy of the targets that are not -100."""
        logits = self(tokens, mask).float()
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
