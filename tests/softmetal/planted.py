"""Kernels with one fault each, and what the reports of the software GPU have to say of them."""

import re

import numpy as np
import pytest

from softmetal.msl import Library, MslError, available, unavailable_reason

needs_clang = pytest.mark.skipif(not available, reason=unavailable_reason)

FAST, CHECKED = False, True
both_modes = pytest.mark.parametrize("checked", [FAST, CHECKED], ids=["fast", "checked"])

HEAD = '#include <metal_stdlib>\nusing namespace metal;\n#line 1 "planted.metal"\n'
PARAMETERS = (
    "device float *y [[buffer(0)]], device const float *x [[buffer(1)]], "
    "threadgroup float *shared [[threadgroup(0)]], uint t [[thread_index_in_threadgroup]], "
    "uint g [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]], "
    "uint group [[simdgroup_index_in_threadgroup]]"
)
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"


def library(body: str, checked: bool, parameters: str = PARAMETERS) -> Library:
    """One kernel, k; its body begins on line 2 of planted.metal."""
    return Library(f"{HEAD}kernel void k({parameters}) {{\n{body}\n}}\n", checked=checked)


def run(body: str, checked: bool = CHECKED, threads: int = 64, groups: int = 1) -> np.ndarray:
    """y of a body over 64 floats, x being 0, 1, ..., 63, and 512 bytes of threadgroup memory."""
    y, x = np.zeros(64, np.float32), np.arange(64, dtype=np.float32)
    library(body, checked).run("k", {0: y, 1: x}, groups, threads, threadgroup={0: 512})
    return y


def fault(body: str, checked: bool = CHECKED, **sizes: int) -> str:
    with pytest.raises(MslError) as caught:
        run(body, checked, **sizes)
    return str(caught.value)


def assert_at(text: str, line: int, thread: int | None = None, group: int = 0) -> None:
    """A report names the kernel, the line, the thread and the threadgroup."""
    assert text.startswith("kernel k"), text
    assert f"planted.metal:{line}" in text, text
    number = r"\d+" if thread is None else str(thread)
    place = rf"thread \({number}, 0, 0\) of threadgroup \({group}, 0, 0\)"
    assert re.search(place, text), text
