"""The CPU device with a planted fault: its own C sources, changed in one place, compiled here.

Every fault is in the same library behind a switch, so that one compilation serves all of them. The
library takes the place of the bindings' functions in backends/cpu.py, through ctypes: an Engine on
the device "cpu" then runs the changed kernels.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smelt import _cpu
from smelt.backends import base, cpu, reference

NATIVE = Path(__file__).resolve().parents[1] / "native"
FAULTS = ["none", "rope", "q4_k", "heads", "residual", "scale", "gate_up", "mask", "pages", "nan"]

# file, pattern, replacement and how often it is found
CHANGES = [
    # pairs half a head apart where they are neighbours, and the other way round
    ("cpu/kernels/rope.h", r"if \(op->neox\)", r"if (op->neox != PLANTED(rope))", 1),
    # the upper two bits of the scales of sub-blocks 4 to 7 are lost
    (
        "formats/packing.h",
        r"packed\[j\] >> 6 << 4",
        r"(PLANTED(q4_k) ? 0 : packed[j] >> 6 << 4)",
        1,
    ),
    # query heads share key heads in turn, and not in groups
    (
        "cpu/kernels/attention.h",
        r"head / group\b",
        r"(PLANTED(heads) ? head % op->n_kv_heads : head / group)",
        2,
    ),
    (
        "cpu/kernels/attention.h",
        r"(run\.first, p, n_pages), kv_head",
        r"\1, PLANTED(heads) ? op->n_kv_heads - 1 - kv_head : kv_head",
        1,
    ),
    # keys are written to the pages of the next head
    (
        "cpu/kernels/rope.h",
        r"k_at = \(size_t\)\(head \*",
        r"k_at = (size_t)((PLANTED(pages) ? (head + 1) % kv->n_kv_heads : head) *",
        1,
    ),
    ("cpu/kernels/elementwise.h", r"vf_add\(a, b\)\)", r"PLANTED(residual) ? a : vf_add(a, b))", 1),
    (
        "cpu/kernels/matmul.h",
        r"value_data\(w, op->inputs\[1\]\)",
        r"PLANTED(residual) ? NULL : value_data(w, op->inputs[1])",
        1,
    ),
    # 1 / head_dim, and not its square root
    (
        "cpu/kernels/attention.h",
        r"op->scale",
        r"(PLANTED(scale) ? op->scale * op->scale : op->scale)",
        2,
    ),
    ("cpu/kernels/matmul.h", r"vf_load\(gate \+", r"vf_load((PLANTED(gate_up) ? up : gate) +", 1),
    ("cpu/kernels/matmul.h", r"vf_load\(up \+", r"vf_load((PLANTED(gate_up) ? gate : up) +", 1),
    # one position too many; the unfused kernels have no room for it behind the last one
    ("cpu/kernels/attention.h", r"n = (w->step->positions\[.*\] \+ 1);", r"n = SEEN(\1);", 3),
    ("cpu/kernels/attention.h", r"seen = (first_position)", r"seen = PLANTED(mask) + \1", 1),
    (
        "cpu/kernels/elementwise.h",
        r"ELEMENT_OP\(silu, (vf_silu\(a\))\)",
        r"ELEMENT_OP(silu, PLANTED(nan) ? vf_mul(vf_set(NAN), a) : \1)",
        1,
    ),
]
SWITCH = """\
enum {{ {names} }};
extern int planted_fault;
#define PLANTED(name) (planted_fault == FAULT_##name)
#define SEEN(n) ((n) + (PLANTED(mask) && (n) < capacity))
"""
COMPILE = ["-std=c11", "-O1", "-fPIC", "-ffp-contract=off", "-pthread", "-w"]


def build(folder: Path) -> Path:
    """Compiles the changed sources; a skip where there is no C compiler."""
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        pytest.skip("no C compiler: cc, gcc or clang is not installed")
    native = folder / "native"
    shutil.copytree(NATIVE, native, ignore=shutil.ignore_patterns("metal"))
    for name, pattern, replacement, count in CHANGES:
        text, found = re.subn(pattern, replacement, (native / name).read_text())
        assert found == count, f"{name}: {pattern!r} is there {found} times, not {count}: adapt it"
        (native / name).write_text(text)
    names = ", ".join(f"FAULT_{name}" for name in FAULTS)
    (native / "planted.h").write_text(SWITCH.format(names=names))
    (native / "planted.c").write_text("int planted_fault = 0;\n")
    # the scalar kernels alone, which compile quickly; the other tables are there and empty
    units = {unit.stem for unit in native.glob("cpu/isa/*.c")} - {"isa", "scalar"}
    tables = "".join(f"const kernel_table kernels_{name} = {{{{0}}}};\n" for name in sorted(units))
    (native / "cpu" / "others.c").write_text(f'#include "cpu/internal.h"\n{tables}')
    patterns = ("*.c", "cpu/*.c", "cpu/isa/isa.c", "cpu/isa/scalar.c", "formats/*.c")
    sources = [source for pattern in patterns for source in native.glob(pattern)]

    def compile_one(source: Path) -> Path:
        target = source.with_suffix(".o")
        include = [f"-I{native}", "-include", str(native / "planted.h")]
        command = [compiler, *COMPILE, *include, "-c", str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return target

    with ThreadPoolExecutor(2) as workers:
        objects = list(workers.map(compile_one, sources))
    library = folder / "planted.so"
    link = [compiler, "-shared", "-pthread", *map(str, objects), "-lm", "-o", str(library)]
    subprocess.run(link, check=True)
    return library


class Tables(ctypes.Structure):
    """program_tables of native/checks.h."""

    _fields_ = [
        ("ops", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("n_ops", "n_values", "n_weights")),
        *((name, ctypes.c_int) for name in ("max_tokens", "max_logits")),
        ("arena_bytes", ctypes.c_int64),
    ]


class Step(ctypes.Structure):
    """step of native/program.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("n_tokens", "n_logits", "n_sequences", "max_pages")),
        *((name, ctypes.c_void_p) for name in ("token_ids", "positions", "sequences")),
        *((name, ctypes.c_void_p) for name in ("page_table", "logit_rows", "logits")),
    ]


class PlantedCore:
    """The functions of smelt._cpu that backends/cpu.py calls, on the changed library; the rest is
    that of the real one. What it creates lives as long as the process."""

    def __init__(self, library: Path):
        core = self._core = ctypes.CDLL(str(library))
        for name in ("cpu_device_create", "cpu_program_create", "cpu_program_value"):
            getattr(core, name).restype = ctypes.c_void_p
        core.cpu_kv_create.restype = ctypes.c_void_p
        core.cpu_kv_page_bytes.restype = ctypes.c_int64
        self._fault = ctypes.c_int.in_dll(core, "planted_fault")

    def __getattr__(self, name: str) -> Any:
        return getattr(_cpu, name)

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Plants a fault for a while: before weights are packed, and until the steps are done."""
        self._fault.value = FAULTS.index(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cpu, "_cpu", self)
            patch.setenv("SMELT_ISA", "scalar")
            yield
        self._fault.value = 0

    def Device(self, isa: int, threads: int) -> Any:  # noqa: N802
        assert isa == 0
        core = self._core
        handle = ctypes.c_void_p(core.cpu_device_create(0, threads))

        class Device:
            def cancel(self, wanted: bool) -> None:
                pass

            def pack(self, record: int, to: int, stride: int) -> None:
                places = ctypes.c_void_p(record), ctypes.c_void_p(to)
                assert core.cpu_pack(handle, *places, ctypes.c_size_t(stride)) == 0

            def touch(self, fresh: int, n_bytes: int) -> None:
                core.cpu_touch(handle, ctypes.c_void_p(fresh), ctypes.c_size_t(n_bytes))

        device = Device()
        device.handle = handle  # type: ignore[attr-defined]
        return device

    def PagePool(self, n_layers: int, n_kv_heads: int, head_dim: int, kv_type: int) -> Any:  # noqa: N802
        core = self._core
        handle = ctypes.c_void_p(core.cpu_kv_create(n_layers, n_kv_heads, head_dim, kv_type))

        class PagePool:
            page_bytes = core.cpu_kv_page_bytes(handle)

            def grow(self, n_pages: int) -> bool:
                return bool(core.cpu_kv_grow(handle, n_pages) == 0)

            def read(self, *where: int) -> None:
                *place, keys, values = where
                to = ctypes.c_void_p(keys), ctypes.c_void_p(values)
                assert core.cpu_kv_read(handle, *place, *to) == 0

        pool = PagePool()
        pool.handle = handle  # type: ignore[attr-defined]
        return pool

    def Program(self, device: Any, ops: int, n_ops: int, *rest: int) -> Any:  # noqa: N802
        core = self._core
        values, n_values, weights, n_weights, max_tokens, max_logits, arena = rest
        tables = Tables(
            ops, values, weights, n_ops, n_values, n_weights, max_tokens, max_logits, arena
        )
        bad = ctypes.c_int(-1)
        made = core.cpu_program_create(device.handle, ctypes.byref(tables), ctypes.byref(bad))
        assert made, f"op {bad.value}"
        handle = ctypes.c_void_p(made)

        class Program:
            def value_address(self, value: int) -> int:
                return core.cpu_program_value(handle, value) or 0

        program = Program()
        program.handle, program.device = handle, device  # type: ignore[attr-defined]
        return program

    def run_step(self, program: Any, pool: Any, step: base.Step, logits: int) -> int:
        arrays = reference.Arrays.of(step)
        token_ids, positions, sequences, page_table, rows = (x.ctypes.data for x in arrays)
        record = Step(
            *(len(arrays.token_ids), len(arrays.logit_rows), *arrays.page_table.shape),
            *(token_ids, positions, sequences, page_table, rows, logits),
        )
        never = ctypes.c_int(0)
        return int(
            self._core.cpu_step(
                program.device.handle,
                program.handle,
                pool.handle,
                ctypes.byref(record),
                ctypes.byref(never),
                None,
            )
        )
