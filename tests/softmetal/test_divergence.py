"""Barriers and SIMD operations that not all threads meet at."""

import numpy as np
import pytest
from planted import BARRIER, assert_at, both_modes, fault, needs_clang, run

pytestmark = needs_clang


@both_modes
def test_correct_kernel_passes(checked: bool) -> None:
    body = f"shared[t] = x[t];\n{BARRIER}\ny[t] = shared[63 - t] + simd_sum(1.0f);"
    assert np.array_equal(run(body, checked), 63 - np.arange(64) + 32)


@both_modes
@pytest.mark.parametrize(
    ("body", "thread"),
    [
        (f"if (t < 20)\n{BARRIER}\ny[t] = 1;", None),
        (f"if (t < 32)\n{BARRIER}\ny[t] = 1;", None),
        (f"if (t >= 32) return;\n{BARRIER}\ny[t] = 1;", None),
        (f"if (t == 40) return;\n{BARRIER}\ny[t] = 1;", None),
        (f"if (t < 32) {{\n{BARRIER} }} else {{\n\n{BARRIER} }}\ny[t] = 1;", None),
    ],
    ids=[
        "some lanes",
        "one SIMD group",
        "one SIMD group ended",
        "one lane ended",
        "different barriers",
    ],
)
def test_divergent_barrier(body: str, thread: int | None, checked: bool) -> None:
    text = fault(body, checked)
    assert_at(text, 3, thread)
    assert "divergent barrier" in text


@both_modes
@pytest.mark.parametrize(
    "body",
    [
        "if (lane < 7)\ny[t] = simd_sum(1.0f);",
        "if (lane == 31) return;\ny[t] = simd_max(x[t]);",
        "if (lane & 1)\ny[t] = simd_sum(1.0f); else y[t] = simd_max(1.0f);",
        "for (uint i = 0; i <= lane; i++)\ny[t] = simd_shuffle_xor(x[t], 1);",
        f"if (lane & 1)\ny[t] = simd_sum(1.0f); else\n{BARRIER}",
    ],
    ids=[
        "not all lanes",
        "an ended lane",
        "different operations",
        "different numbers",
        "and a barrier",
    ],
)
def test_divergent_simd_operation(body: str, checked: bool) -> None:
    text = fault(body, checked)
    assert_at(text, 3)
    assert "divergent" in text


@both_modes
def test_divergent_matrix_operation(checked: bool) -> None:
    body = (
        "simdgroup_float8x8 m(1.0f);\nif (lane < 31)\nsimdgroup_store(m, y);\n"
        "simdgroup_barrier(mem_flags::mem_device);"
    )
    text = fault(body, checked, threads=32)
    assert "divergent SIMD operation" in text and "planted.metal:" in text
