"""Rotary frequencies of a model, with linear and YaRN scaling and per-dimension factors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .config import Config
from .errors import ModelFormatError
from .graph.ops import Weight

if TYPE_CHECKING:
    import numpy as np

__all__ = ["rotary_frequencies"]


def rotary_frequencies(config: Config, factors: Weight | None = None) -> tuple[Weight, float]:
    """(inv_freq float64 [rotary_dim / 2], scale of cos and sin).

    The angle of pair i at position p is p * inv_freq[i], with
    inv_freq[i] = base^(-2i / rotary_dim) / factors[i], stretched by the model's scaling: all of it
    by 1 / factor (linear), or only the slow pairs (YaRN, section 3.2 of arXiv:2309.00071, with the
    ramp between the pairs that turn beta_fast and beta_slow times in the original context).
    """
    import numpy as np

    from .formats import FORMATS

    n = config.rotary_dim
    inv_freq = config.rope_base ** (-np.arange(0, n, 2, dtype=np.float64) / n)
    if factors is not None:
        inv_freq = inv_freq / FORMATS[factors.format].decode(factors.data).astype(np.float64)
    scaling, scale = config.rope_scaling, config.rope_scaling.attn_factor
    if scaling.type == "linear":
        inv_freq = inv_freq / scaling.factor
    elif scaling.type == "yarn":
        keep = _yarn_ramp(config) * scaling.ext_factor
        inv_freq = inv_freq * (keep + (1 - keep) / scaling.factor)
        if scaling.ext_factor:
            scale *= 1 + 0.1 * math.log(max(1.0, scaling.factor))
    if not (np.isfinite(inv_freq).all() and math.isfinite(scale)):
        raise ModelFormatError(
            f"rope.freq_base {config.rope_base}, rope_freqs.weight and {scaling} give no "
            "finite rotation"
        )
    inv_freq = np.ascontiguousarray(inv_freq)
    return Weight("inv_freq", inv_freq.shape, "f64", inv_freq), scale


def _yarn_ramp(config: Config) -> np.ndarray:
    """1 for the pairs that keep their frequency, 0 for those that are interpolated."""
    import numpy as np

    n, s = config.rotary_dim, config.rope_scaling

    def pair_that_turns(times: float) -> float:
        turns = math.log(s.original_n_ctx) - math.log(times) - math.log(2 * math.pi)
        return n * turns / (2 * math.log(config.rope_base))

    if config.rope_base == 1.0:
        raise ModelFormatError("YaRN needs a rope.freq_base other than 1")

    low = max(0, math.floor(pair_that_turns(s.beta_fast)))
    high = min(n - 1, math.ceil(pair_that_turns(s.beta_slow)))
    ramp = (np.arange(n // 2) - low) / max(0.001, high - low)
    return 1 - np.clip(ramp, 0, 1)
