"""Finding the op where two runs part: `smelt diff`."""

from .compare import Diff, Difference, compare

__all__ = ["Diff", "Difference", "compare"]
