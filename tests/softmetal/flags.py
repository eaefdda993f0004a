"""How the software Metal device, and what is built with it, is compiled: found, not assumed.

missing() says in words what a machine lacks, or None; compile_command(source) and link_command()
are complete but for include folders of the caller, the files and `-o`; build() does it all.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = 19  # of which the executor knows the intermediate representation it works on
FOUNDATION = "Foundation/NSObject.h"
# GNUstep has a _Block_copy of its own that copies nothing: the real one has to come first
LIBRARIES = ("BlocksRuntime", "gnustep-base", "objc")


class MissingError(Exception):
    """What has to be installed."""


def _version(path: str) -> int:
    shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"clang version (\d+)", shown)
    return int(match[1]) if match else 0


@functools.cache
def clang() -> str:
    """The oldest clang on the path that is new enough."""
    for name in [*(f"clang-{n}" for n in range(OLDEST, 40)), "clang"]:
        path = shutil.which(name)
        if path and _version(path) >= OLDEST:
            return path
    raise MissingError(f"clang {OLDEST} or later (Debian: clang-19)")


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def cache_directory() -> Path:
    """Where compiled files are kept: executor and programs here, kernels by the executor itself."""
    own = os.environ.get("SOFTMETAL_CACHE")
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(own) if own else Path(caches) / "softmetal"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _first(what: str, candidates: list[Path], holds: str) -> Path:
    for path in candidates:
        if (path / holds).exists():
            return path
    raise MissingError(what)


@functools.cache
def includes() -> tuple[Path, ...]:
    """The folders of GNUstep's and libobjc's headers."""
    architecture = _said(clang(), "-print-multiarch") or _said("gcc", "-print-multiarch")
    gnustep = [
        Path(found)
        for kind in ("LOCAL", "SYSTEM", "USER")
        if (found := _said("gnustep-config", f"--variable=GNUSTEP_{kind}_HEADERS"))
    ]
    usual = [Path("/usr/local/include"), Path("/usr/include"), Path("/usr/include") / architecture]
    gnustep += [folder / "GNUstep" for folder in usual]

    def rank(path: Path) -> tuple[bool, int]:
        compiler = path.parent
        return compiler.parent.name == architecture, int(compiler.name.split(".")[0])

    compilers = sorted(Path("/usr/lib/gcc").glob("*/*/include"), key=rank, reverse=True)
    _first("the blocks runtime (Debian: libblocksruntime-dev)", usual, "Block.h")
    return (
        _first("GNUstep's Foundation (Debian: libgnustep-base-dev)", gnustep, FOUNDATION),
        _first("gcc's Objective-C runtime (Debian: libobjc-12-dev)", compilers, "objc/objc.h"),
    )


def compile_command(source: str | os.PathLike[str]) -> list[str]:
    """The compiler and its flags for a .m, .c or .cpp file."""
    suffix = Path(source).suffix
    common = ["-O2", "-g", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra"]
    common += [f"-I{HERE / 'include'}"]
    if suffix == ".cpp":
        return [clang(), "-x", "c++", "-std=c++17", *common]
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
    system = ["-lstdc++", "-lm", "-ldl"]
    return [clang(), *kind, "-pthread", "-Wl,--no-as-needed", *folders, *libraries, *system]


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
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        return f"the software Metal device does not link: {probe.stderr.strip()[-300:]}"
    return None


def device_sources() -> list[Path]:
    """The executor and the device."""
    return sorted([*HERE.glob("*.cpp"), *HERE.glob("*.m")])


def _headers_key() -> bytes:
    key = hashlib.sha256()
    for path in sorted([*HERE.rglob("*.h"), *HERE.rglob("*.def")]):
        key.update(path.read_bytes())
    return key.digest()


def objects(sources: Iterable[Path]) -> list[Path]:
    """The files compiled, side by side, each kept by the content of all that it may depend on."""
    headers, folder = _headers_key(), cache_directory() / "objects"
    folder.mkdir(exist_ok=True)

    def compiled(source: Path) -> Path:
        command = [*compile_command(source), f"-I{HERE}", "-c", str(source)]
        key = hashlib.sha256(repr(command).encode() + headers + source.read_bytes())
        target = folder / f"{source.name}-{key.hexdigest()[:24]}.o"
        if not target.exists():
            part = target.with_suffix(f".{os.getpid()}.part")
            subprocess.run([*command, "-o", str(part)], check=True)
            part.replace(target)
        return target

    # Processes that want the same at the same time (pytest's workers) do it once.
    with open(folder / "lock", "w") as lock, ThreadPoolExecutor(os.cpu_count()) as workers:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return list(workers.map(compiled, sources))


def linked(name: str, command: list[str], parts: Iterable[Path]) -> Path:
    """What a link command makes of objects; kept likewise."""
    complete = [*command[:1], *map(str, parts), *command[1:]]
    key = hashlib.sha256(repr(complete).encode()).hexdigest()[:24]
    target = cache_directory() / f"{name}-{key}{'.so' if '-shared' in command else ''}"
    if not target.exists():
        part = target.with_suffix(f".{os.getpid()}.part")
        subprocess.run([*complete, "-o", str(part)], check=True)
        part.replace(target)
    return target


def build(name: str, sources: Iterable[Path], shared: bool = False) -> Path:
    """A program or shared library of the device and `sources`, kept by the content of all files."""
    return linked(name, link_command(shared), objects([*device_sources(), *sources]))


def build_executor() -> Path:
    """The executor alone, as a shared library: it needs nothing but clang."""
    command = [clang(), "-shared", "-pthread", "-lstdc++", "-lm", "-ldl"]
    return linked("executor", command, objects(sorted(HERE.glob("*.cpp"))))


if __name__ == "__main__":
    print(missing() or "everything is there")
