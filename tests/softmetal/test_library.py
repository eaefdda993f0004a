"""Libraries as files, what they declare, and the cache of what was compiled."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from planted import needs_clang

from softmetal import flags, msl
from softmetal.msl import Library, MslError

pytestmark = needs_clang

TEXT = """#include <metal_stdlib>
using namespace metal;
enum { AT = 3 };
typedef struct { int n; float3 v; } pair;
constant bool WIDE [[function_constant(5)]];
constant float SCALE [[function_constant(AT + 4)]];
constant bool NARROW = !WIDE;
[[max_total_threads_per_threadgroup(96)]] kernel void k(
    device half *y [[buffer(AT)]], constant pair &p [[buffer(0)]],
    device const uchar *x [[buffer(AT + 1), function_constant(WIDE)]],
    device const void *z [[buffer(9), function_constant(NARROW)]],
    threadgroup float4 *shared [[threadgroup(2)]], uint t [[thread_position_in_grid]])
{
    shared[t] = p.v.x;
    y[t] = half(SCALE * p.n) + half(shared[t].x);
}
kernel void other(device float *y [[buffer(0)]]) { y[0] = 1; }
"""
DEVICE, CONSTANT, THREADGROUP = range(3)
ALWAYS, DERIVED = -1, -2


def arguments(library: Library, kernel: str) -> list[tuple[object, ...]]:
    f = library.functions[kernel].contents
    return [
        (a.name.decode(), a.index, a.kind, a.writable, a.element_bytes, a.by_reference, a.condition)
        for a in f.arguments[: f.n_arguments]
    ]


def test_signature() -> None:
    library = Library(TEXT)
    assert list(library.functions) == ["k", "other"]
    assert library.functions["k"].contents.max_threads == 96
    assert library.constants == {"WIDE": 5, "SCALE": 7}
    assert arguments(library, "k") == [
        ("y", 3, DEVICE, 1, 2, 0, ALWAYS),
        ("p", 0, CONSTANT, 0, 32, 1, ALWAYS),
        ("x", 4, DEVICE, 0, 1, 0, 5),
        ("z", 9, DEVICE, 0, 1, 0, DERIVED),
        ("shared", 2, THREADGROUP, 1, 16, 0, ALWAYS),
    ]


def test_file(tmp_path: Path) -> None:
    lib, error, path = msl._executor(), ctypes.c_void_p(), str(tmp_path / "a.library").encode()
    assert lib.msl_compile_to(TEXT.encode(), None, 0, path, ctypes.byref(error)) == 0
    lib.msl_load.restype = ctypes.c_void_p
    handle = lib.msl_load(path, ctypes.byref(error))
    assert lib.msl_function_count(handle) == 2
    lib.msl_release(handle)


@pytest.mark.parametrize("content", [None, "", "no library\n"])
def test_not_a_library(content: str | None, tmp_path: Path) -> None:
    lib, error, path = msl._executor(), ctypes.c_char_p(), tmp_path / "a.library"
    if content is not None:
        path.write_text(content)
    lib.msl_load.restype = ctypes.c_void_p
    assert not lib.msl_load(str(path).encode(), ctypes.byref(error))
    assert error.value


PROGRAM = """
import sys
import numpy as np
from softmetal.msl import Library
y = np.zeros(1, np.float32)
Library(sys.argv[1]).run("other", {0: y}, 1, 1)
assert y[0] == 1
"""


def test_another_process_finds_what_was_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process writes nothing."""
    directory = tmp_path / "cache"
    msl._executor()
    shutil.copytree(flags.cache_directory() / "objects", directory / "objects")  # the slow part
    monkeypatch.setenv("SOFTMETAL_CACHE", str(directory))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    command = [sys.executable, "-c", PROGRAM, TEXT]
    subprocess.run(command, check=True)
    made = {path: path.stat().st_mtime_ns for path in directory.iterdir() if path.is_file()}
    assert {".library", ".so"} <= {path.suffix for path in made}
    subprocess.run(command, check=True)
    assert made == {p: p.stat().st_mtime_ns for p in directory.iterdir() if p.is_file()}


def test_errors_name_the_file_of_line_directives() -> None:
    with pytest.raises(MslError, match=r"^b\.metal:8:.*undeclared identifier 'missing'"):
        Library('#line 7 "b.metal"\nconstant int a = 1;\nconstant int b = missing;\n')


def test_includes_are_found(tmp_path: Path) -> None:
    (tmp_path / "one.h").write_text("#define ONE 1.5f\n")
    text = '#include "one.h"\nkernel void k(device float *y [[buffer(0)]]) { y[0] = ONE; }\n'
    y = np.zeros(1, np.float32)
    Library(text, tmp_path).run("k", {0: y}, 1, 1)
    assert y[0] == 1.5
    (tmp_path / "one.h").write_text("#define ONE 2.5f\n")
    Library(text, tmp_path).run("k", {0: y}, 1, 1)
    assert y[0] == 2.5
    with pytest.raises(MslError, match=r"source:1:.*'one.h' file not found"):
        Library(text)
