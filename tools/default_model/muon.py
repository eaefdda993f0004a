"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum, made orthogonal.

The update of a matrix is its momentum with all singular values brought close to one by a few
Newton-Schulz steps. Matrices of one shape are treated together, since each of them is small.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon"]

# Coefficients of the quintic iteration, from the publication above.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def _orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """g [n, rows, columns] with singular values near one."""
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For matrices only; everything else wants AdamW."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                shapes.setdefault(tuple(parameter.shape), []).append(parameter)
            group["stacks"] = list(shapes.values())
            compiled = any(parameter.is_cuda for parameter in group["params"])
            group["orthogonal"] = torch.compile(_orthogonal) if compiled else _orthogonal
            group["momenta"] = [torch.zeros_like(torch.stack(s)) for s in group["stacks"]]

    def compile_all(self) -> None:
        """Compiles what step() needs, without a step."""
        for group in self.param_groups:
            for momentum in group["momenta"]:
                group["orthogonal"](torch.randn_like(momentum))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for stack, momentum in zip(group["stacks"], group["momenta"], strict=True):
                gradient = torch.stack([parameter.grad for parameter in stack])
                momentum.lerp_(gradient, 1 - group["momentum"])
                update = group["orthogonal"](gradient.lerp_(momentum, group["momentum"]))
                rows, columns = update.shape[-2:]
                # so that an update has about the size that AdamW's would have
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                torch._foreach_mul_(stack, 1 - group["lr"] * group["weight_decay"])
                updates = list(update.to(stack[0].dtype).unbind())
                torch._foreach_add_(stack, updates, alpha=-scale)
