"""How the software Metal device, and what is built with it, is compiled: found, not assumed.

missing() says in words what a machine lacks, or None; compile_command(source) and link_command()
are complete but for include folders of the caller, the files and `-o`.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = 15  # the first clang with _Float16 on x86-64 and what else the prelude needs
LIBRARIES = ("gnustep-base", "objc", "BlocksRuntime")


class MissingError(Exception):
    """What has to be installed."""


def _version(path: str) -> int:
    shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"clang version (\d+)", shown)
    return int(match[1]) if match else 0


@functools.cache
def clang() -> str:
    """The newest clang that is on the path, or what SOFTMETAL_CC names."""
    names = [os.environ.get("SOFTMETAL_CC", ""), *(f"clang-{n}" for n in range(30, OLDEST - 1, -1))]
    for name in [*names, "clang"]:
        path = shutil.which(name) if name else None
        if path and _version(path) >= OLDEST:
            return path
    raise MissingError(f"clang {OLDEST} or later (Debian: clang-19)")


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _first(what: str, candidates: list[Path], holds: str) -> Path:
    for path in candidates:
        if (path / holds).exists():
            return path
    raise MissingError(what)


@functools.cache
def includes() -> tuple[Path, ...]:
    """The folders of GNUstep's, libobjc's and the blocks runtime's headers."""
    architecture = _said(clang(), "-print-multiarch") or _said("gcc", "-print-multiarch")
    gnustep = [
        Path(found)
        for kind in ("LOCAL", "SYSTEM", "USER")
        if (found := _said("gnustep-config", f"--variable=GNUSTEP_{kind}_HEADERS"))
    ]
    usual = [Path("/usr/local/include"), Path("/usr/include"), Path("/usr/include") / architecture]
    gnustep += [folder / "GNUstep" for folder in usual]
    compilers = sorted(
        Path("/usr/lib/gcc").glob("*/*/include"),
        key=lambda path: (path.parents[1].name == architecture, int(path.parent.name.split(".")[0])),
        reverse=True,
    )
    resources = Path(_said(clang(), "-print-resource-dir") or "/") / "include"
    return (
        _first("GNUstep's Foundation (Debian: libgnustep-base-dev)", gnustep, "Foundation/NSObject.h"),
        _first("the blocks runtime (Debian: libblocksruntime-dev)", [*usual, resources], "Block.h"),
        _first("gcc's Objective-C runtime (Debian: libobjc-12-dev)", compilers, "objc/objc.h"),
    )


def compile_command(source: str | os.PathLike[str]) -> list[str]:
    """The compiler and its flags for a .m, .c or .cpp file."""
    suffix = Path(source).suffix
    common = ["-O2", "-g", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra"]
    common += [f"-I{HERE / 'include'}"]
    if suffix == ".cpp":
        prelude = f'-DSOFTMETAL_PRELUDE="{HERE / "prelude"}"'
        return [clang(), "-x", "c++", "-std=c++17", *common, prelude]
    if suffix == ".c":
        return [clang(), "-std=gnu11", *common, "-ffp-contract=off"]
    objective_c = ["-fobjc-runtime=gcc", "-fconstant-string-class=NSConstantString", "-fblocks"]
    # without -fexceptions clang emits no landing pads, and @catch is passed by
    objective_c += ["-fobjc-exceptions", "-fexceptions", "-DGNUSTEP", "-D_NATIVE_OBJC_EXCEPTIONS"]
    # searched last: gcc's folder also has headers that clang has its own of
    systems = [flag for path in includes() for flag in ("-idirafter", str(path))]
    # Apple's `nullable` is everywhere in our headers and nowhere in GNUstep's
    quiet = ["-Wno-nullability-completeness", "-Wno-unused-parameter"]
    return [clang(), "-std=gnu11", *common, *objective_c, *quiet, "-ffp-contract=off", *systems]


def link_command(shared: bool = True) -> list[str]:
    """Of objects from compile_command, to a library or else to a program."""
    libraries = [f"-l{name}" for name in LIBRARIES]
    found = _said("gnustep-config", "--variable=GNUSTEP_SYSTEM_LIBRARIES")
    folders = [f"-L{found}"] if found and Path(found).is_dir() else []
    kind = ["-shared"] if shared else ["-rdynamic"]
    return [clang(), *kind, "-pthread", "-Wl,--no-as-needed", *folders, *libraries, "-lstdc++", "-lm", "-ldl"]


@functools.cache
def missing() -> str | None:
    """None where everything is there that the software device needs."""
    try:
        clang()
        includes()
    except MissingError as error:
        return f"the software Metal device needs {error}"
    probe = subprocess.run(
        [*link_command(), "-x", "c", "/dev/null", "-o", "/dev/null"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if probe.returncode:
        return f"the software Metal device does not link: {probe.stderr.strip()[-300:]}"
    return None
