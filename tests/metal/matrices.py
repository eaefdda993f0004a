"""Products with up to three matrices, as matvec and matmul compute them: the dispatch, the
reference in float64, and how far float32 arithmetic may be from it.

The bound. A kernel decodes a weight as w = scale q + addend, exactly but for two roundings, so a
term of its sum may be wrong by 2 u m |x| with u = 2^-24 and m = |scale q| + |addend|, and by one
u m |x| for each rounding of a sum that the term is in. With n of these the sum is within
n u sum(m |x|), to first order; the test adds a few to n for the rest. m is |w| in formats without
minimum; in the others it is at most |w| + 2 |addend|, and the addend is what a weight decodes to
when all codes are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from kernel_args import CONST, struct
from kernels import ULP, Step, run

from random_weights import random_weights
from smelt.formats import FORMATS

# Where the codes lie in blocks of a format that has minimums.
CODES = {"q4_1": (4, 20), "q5_1": (4, 24), "q2_k": (16, 80), "q4_k": (16, 144), "q5_k": (16, 176)}
# Formats that can share an n_in, and sizes of it; the largest takes the lanes several turns.
GROUPS = {
    "floats": (("f32", "f16", "bf16"), (1, 31, 257)),
    "blocks of 32": (("q8_0", "q4_0", "q4_1"), (32, 96, 1056)),
    "more of 32": (("q5_0", "q5_1", "iq4_nl"), (32, 96, 1056)),
    "blocks of 256": (("q2_k", "q3_k", "q4_k"), (256, 2304)),
    "more of 256": (("q5_k", "q6_k", "iq4_xs"), (256, 2304)),
    "mixed": (("q4_k", "q8_0", "f16"), (256, 512)),
}
OUTS = ((1, 33, 7), (257, 8, 65))
EPS = 10.0  # beside a mean square of some hundreds
SLOPE = 1.13
"""The steepest slope of SiLU (1.10) and of GELU."""


@dataclass
class Matrix:
    """Random weights, and perhaps a bias."""

    format: str
    n_out: int
    n_in: int
    seed: int = 0
    has_bias: bool = False
    blocks: np.ndarray = field(init=False)  # uint8 [n_out, row_bytes]
    weights: np.ndarray = field(init=False)  # float64 [n_out, n_in]
    sizes: np.ndarray = field(init=False)  # the m of above
    bias: np.ndarray | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.blocks = random_weights(rng, self.format, self.n_out, self.n_in, 1.0)
        self.weights = self.decode(self.blocks)
        self.sizes = np.abs(self.weights)
        if self.format in CODES:
            bare = self.blocks.copy().reshape(-1, FORMATS[self.format].block_bytes)
            bare[:, slice(*CODES[self.format])] = 0
            self.sizes += 2 * np.abs(self.decode(bare))
        if self.has_bias:
            self.bias = rng.standard_normal(self.n_out).astype(np.float32)

    def decode(self, blocks: np.ndarray) -> np.ndarray:
        weights = FORMATS[self.format].decode(blocks).reshape(self.n_out, self.n_in)
        return weights.astype(np.float64)


@dataclass
class Product:
    """matvec or matmul of rows of x with matrices, and what is fused with it."""

    x: np.ndarray  # float32 [n_tokens, n_in]
    matrices: Sequence[Matrix]
    gain: np.ndarray | None = None  # rms_norm goes before
    residual: np.ndarray | None = None  # [rows, n_out] of the first matrix
    gate: str = "GATE_NONE"
    logit_rows: Sequence[int] = ()  # only these tokens

    @property
    def rows(self) -> Sequence[int]:
        return self.logit_rows or range(len(self.x))

    @property
    def outputs(self) -> Sequence[Matrix]:
        return self.matrices if self.gate == "GATE_NONE" else self.matrices[:1]

    def constants(self) -> dict[str, int]:
        constants = {
            "GATE": CONST[self.gate],
            "HAS_RESIDUAL": self.residual is not None,
            "HAS_MATRIX_1": len(self.matrices) > 1,
            "HAS_MATRIX_2": len(self.matrices) > 2,
        }
        for i in range(3):
            matrix = self.matrices[i] if i < len(self.matrices) else None
            constants[f"FORMAT_{i}"] = FORMATS[matrix.format].index if matrix else -1
            constants[f"HAS_BIAS_{i}"] = matrix is not None and matrix.has_bias
        return constants

    def dispatch(
        self,
        kernel: str,
        group_outs: int,
        grid_y: int,
        threads: int,
        constants: dict[str, int],
        checked: bool,
    ) -> list[np.ndarray]:
        """The outputs, float32 [rows, n_out] each."""
        counts = [m.n_out for m in self.matrices] + [0] * (3 - len(self.matrices))
        groups = [-(-m.n_out // group_outs) for m in self.outputs]
        ends = np.cumsum(groups + [0] * (3 - len(groups)))
        row_bytes = [m.blocks.shape[1] for m in self.matrices]
        args = struct(
            "matmul_args",
            n_in=self.x.shape[1],
            rows=CONST["ROWS_OF_LOGITS" if self.logit_rows else "ROWS_OF_TOKENS"],
            eps=EPS,
            n_out=counts,
            end=ends,
            row_bytes=row_bytes + [0] * (3 - len(row_bytes)),
        )
        results = [np.full((len(self.rows), m.n_out), np.nan, np.float32) for m in self.outputs]
        buffers: list[np.ndarray | None] = [None] * 15
        buffers[CONST["MATRIX_X"]] = self.x
        buffers[CONST["MATRIX_GAIN"]] = self.gain
        buffers[CONST["MATRIX_RESIDUAL"]] = self.residual
        for i, matrix in enumerate(self.matrices):
            buffers[CONST["MATRIX_W"] + i] = matrix.blocks
            buffers[CONST["MATRIX_B"] + i] = matrix.bias
        for i, result in enumerate(results):
            buffers[CONST["MATRIX_Y"] + i] = result
        run(
            kernel,
            kernel,
            args,
            buffers[CONST["BUFFER_OP"] :],
            (int(ends[-1]), grid_y),
            threads,
            step=Step(positions=range(len(self.x)), logit_rows=self.logit_rows),
            constants={**self.constants(), **constants},
            checked=checked,
        )
        return results

    def matvec(self, tokens: int, checked: bool = False) -> list[np.ndarray]:
        constants = {
            "TOKENS": tokens,
            "HAS_NORM": self.gain is not None,
            "SELECTED": bool(self.logit_rows),
        }
        group_outs = CONST["MATVEC_SIMDGROUPS"] * CONST["MATVEC_ROWS"]
        threads = CONST["SIMD_WIDTH"] * CONST["MATVEC_SIMDGROUPS"]
        return self.dispatch("matvec", group_outs, 1, threads, constants, checked)

    def matmul(self, checked: bool = False) -> list[np.ndarray]:
        group_outs = CONST["MATMUL_OUTS" if self.gate == "GATE_NONE" else "MATMUL_GATE_OUTS"]
        grid_y = -(-len(self.rows) // CONST["MATMUL_TOKENS"])
        return self.dispatch("matmul", group_outs, grid_y, CONST["MATMUL_THREADS"], {}, checked)

    def reference(self, roundings: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each output in float64, and how far it may be off if a sum's terms meet so many
        roundings in the kernel: [rows, n_out]."""
        x = self.x[list(self.rows)].astype(np.float64)
        if self.gain is not None:  # half of the error of the sum of squares, and a few more
            roundings += roundings // 2 + 4
            x = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + EPS) * self.gain
        results = []
        for matrix in self.matrices:
            y, error = x @ matrix.weights.T, np.abs(x) @ matrix.sizes.T
            if matrix.bias is not None:
                y, error = y + matrix.bias, error + np.abs(matrix.bias)
            results.append((y, (roundings + 3) * ULP * error))
        if self.gate != "GATE_NONE":
            results = [self.gated(*results)]
        if self.residual is not None:
            y, error = results[0]
            y = y + self.residual
            results[0] = y, error + ULP * (np.abs(y) + error)
        return results

    def gated(
        self, gate: tuple[np.ndarray, np.ndarray], up: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """act(gate) up. The functions themselves are right to 16 roundings of their argument."""
        (g, g_error), (u, u_error) = gate, up
        if self.gate == "GATE_SILU":
            value = 0.5 * g * (1 + np.tanh(0.5 * g))
        else:
            value = 0.5 * g * (1 + np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g**3)))
        error = SLOPE * g_error + 16 * ULP * np.abs(g)
        return value * u, error * (np.abs(u) + u_error) + (np.abs(value) + error) * u_error


def rows(n: int, n_in: int, seed: int = 0) -> np.ndarray:
    """Random rows of x, magnitudes from 2^-6 to 2^6."""
    rng = np.random.default_rng([seed, n, n_in])
    x: np.ndarray = rng.standard_normal((n, n_in)) * 2.0 ** rng.integers(-6, 7, (n, n_in))
    return x.astype(np.float32)


def matrices(
    formats: Sequence[str], outs: Sequence[int], n_in: int, has_bias: bool = False
) -> list[Matrix]:
    return [
        Matrix(format, n_out, n_in, seed, has_bias)
        for seed, (format, n_out) in enumerate(zip(formats, outs, strict=True))
    ]


@dataclass
class Fused:
    """A product with something fused to it, for any sizes."""

    formats: Sequence[str]
    norm: bool = False
    bias: bool = False
    residual: bool = False
    gate: str = "GATE_NONE"
    logit_rows: Sequence[int] = ()

    def product(self, n_tokens: int, n_out: int, n_in: int) -> Product:
        """The first matrix has n_out outputs, others a few more unless they are gate and up."""
        more = 3 if self.gate == "GATE_NONE" else 0
        outs = [n_out + more * i for i in range(len(self.formats))]
        product = Product(
            rows(n_tokens, n_in),
            matrices(self.formats, outs, n_in, self.bias),
            gate=self.gate,
            logit_rows=self.logit_rows,
        )
        if self.norm:
            product.gain = 1 + rows(1, n_in, seed=1)[0]
        if self.residual:
            product.residual = rows(len(product.rows), n_out, seed=2)
        return product


def check(
    got: Sequence[np.ndarray], wanted: Sequence[tuple[np.ndarray, np.ndarray]], what: object
) -> None:
    """Every element of every output is within its bound; a NaN is not."""
    assert len(got) == len(wanted)
    for i, (y, (value, bound)) in enumerate(zip(got, wanted, strict=True)):
        assert y.shape == value.shape, (what, i)
        wrong = ~(np.abs(y.astype(np.float64) - value) <= bound)
        if wrong.any():
            at = tuple(int(index) for index in np.argwhere(wrong)[0])
            raise AssertionError(
                f"{what}, matrix {i}: {wrong.sum()} of {wrong.size} are wrong; at {at} "
                f"{y[at]!r}, not {value[at]!r} within {bound[at]:.3g}"
            )
