"""The compiled core without Python: kernels, threads and replay, as C programs of their own.

They run plain, under the compiler's sanitizers, and for arm64 under an emulator. Every variant
prints how many checks passed; a compiler, sanitizer or emulator that is missing is a skip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "native"
NATIVE = ROOT / "native"
FLAGS = ["-std=c11", "-ffp-contract=off", "-pthread", "-Wall", "-DV_EMULATE_AMX"]
FLAGS += ["-Werror=implicit-function-declaration", "-Werror=return-type"]  # clang's are errors
SANITIZE = ["-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]


@dataclass(frozen=True)
class Variant:
    """One way to build and run the programs."""

    compiler: tuple[str, ...]  # candidates, the first that is there is taken
    flags: tuple[str, ...]
    emulator: str | None = None


VARIANTS = {
    "plain": Variant(("cc", "gcc", "clang"), ("-O1",)),
    # at -O0, since gcc 12 takes minutes a unit to optimise what it instruments
    "address": Variant(("cc", "gcc", "clang"), ("-O0", "-fsanitize=address,undefined", *SANITIZE)),
    "thread": Variant(("cc", "gcc", "clang"), ("-O0", "-fsanitize=thread", *SANITIZE)),
    "arm64": Variant(("aarch64-linux-gnu-gcc",), ("-O1", "-static"), "qemu-aarch64"),
}


def command(variant: Variant, folder: Path) -> tuple[list[str], list[str]]:
    """How to compile and how to run, or a skip that says what is missing."""
    compiler = next((name for name in variant.compiler if shutil.which(name)), None)
    if compiler is None:
        pytest.skip(f"no C compiler: {' or '.join(variant.compiler)} is not installed")
    run = [] if variant.emulator is None else [variant.emulator]
    if run and not shutil.which(run[0]):
        pytest.skip(f"{run[0]} is not installed")
    build = [compiler, *FLAGS, *variant.flags]
    probe = folder / "probe"
    probe.with_suffix(".c").write_text("int main(void) { return 0; }\n")
    built = subprocess.run(
        [*build, f"{probe}.c", "-o", str(probe)], capture_output=True, text=True, check=False
    )
    if built.returncode or subprocess.run([*run, str(probe)], check=False).returncode:
        pytest.skip(f"{' '.join(build)} does not build a program that runs: {built.stderr[-300:]}")
    return build, run


def march_of(source: Path) -> list[str]:
    """Options that hold the GNU assembler to the instructions which an isa/ unit names. A compiler
    refuses intrinsics of another set but takes any word in inline assembly, and then only a
    processor without it would tell."""
    found = re.search(r'GCC target\("([^="]+)"\)', source.read_text("utf-8"))
    if source.parent.name != "isa" or not found:
        return []
    names = re.sub("(avx512|avx|amx)-?(vnni|tile|int8)", r"\1_\2", found[1])
    return [f"-Wa,-march=generic64+{names.replace(',', '+')}"]


def takes_march(compile_command: Sequence[str], folder: Path) -> bool:
    """Whether the compiler is for x86 and its assembler is the GNU one."""
    foreign = folder / "foreign.c"
    foreign.write_text('void f(void) { __asm__("vpdpwssd %zmm1, %zmm2, %zmm0"); }\n')
    line = [*compile_command, "-c", str(foreign), "-o", str(foreign.with_suffix(".o"))]
    held = [*line, *march_of(NATIVE / "cpu" / "isa" / "avx512.c")]
    codes = [
        subprocess.run(each, capture_output=True, check=False).returncode for each in (line, held)
    ]
    return codes[0] == 0 and codes[1] != 0


def build_program(
    compile_command: Sequence[str], sources: Sequence[Path], includes: Sequence[Path], to: Path
) -> None:
    """Compiles the sources side by side and links them."""
    options = [f"-I{path}" for path in includes]
    is_held = takes_march(compile_command, to.parent)

    def compile_one(source: Path) -> str:
        target = to.parent / f"{to.name}-{'-'.join(source.relative_to(ROOT).parts)}.o"
        held = march_of(source) if is_held else []
        line = [*compile_command, *options, *held, "-c", str(source), "-o", str(target)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return str(target)

    with ThreadPoolExecutor(os.cpu_count() or 1) as workers:
        objects = list(workers.map(compile_one, sources))
    subprocess.run([*compile_command, *objects, "-lm", "-o", str(to)], check=True)


def build_tests(compile_command: Sequence[str], to: Path) -> None:
    sources = [
        *NATIVE.glob("*.c"),
        *NATIVE.glob("cpu/**/*.c"),
        *NATIVE.glob("formats/*.c"),
        *TESTS.glob("*.c"),
    ]
    build_program(compile_command, sources, [NATIVE, TESTS], to)


def build_primitives(compile_command: Sequence[str], to: Path) -> None:
    """The isa/ units with calls of the v_ primitives in the place of their kernels."""
    folder = TESTS / "primitives"
    sources = [*NATIVE.glob("cpu/isa/*.c"), TESTS / "check.c", folder / "main.c"]
    build_program(compile_command, sources, [folder, NATIVE, TESTS], to)


def expect_success(line: Sequence[str]) -> str:
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert done.stdout.rstrip().endswith(" passed, 0 failed")
    return done.stdout


def check(
    build: Callable[[Sequence[str], Path], None], name: str, folder: Path, *only: str
) -> None:
    compile_command, run = command(VARIANTS[name], folder)
    build(compile_command, folder / "program")
    printed = expect_success([*run, str(folder / "program"), *only])
    assert name != "arm64" or "scalar neon neondot" in printed


@pytest.mark.parametrize("name", ["plain", "address", "arm64"])
def test_primitives(name: str, tmp_path: Path) -> None:
    check(build_primitives, name, tmp_path)


@pytest.mark.parametrize("name", ["plain", "address", "arm64"])
def test_core(name: str, tmp_path: Path) -> None:
    check(build_tests, name, tmp_path)


@pytest.mark.soak
def test_core_with_many_products(tmp_path: Path) -> None:
    check(build_tests, "plain", tmp_path, "soak")


def test_core_shares_no_data_unguarded(tmp_path: Path) -> None:
    """Under the thread sanitizer, which is slow: only what more than one thread touches."""
    check(build_tests, "thread", tmp_path, "threads", "layer", "replay")
