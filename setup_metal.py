"""Builds what the Metal device needs: one text of all kernels, the library compiled from it, and
the extension; on macOS for the GPU, on Linux (SMELT_SOFTMETAL=1) for the tests' software device."""

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension

NAME = "smelt._metal"
ROOT = Path(__file__).resolve().parent
SOFTWARE = ROOT / "tests" / "softmetal"
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)".*$', re.MULTILINE)

# The oldest system that has what the kernels use (addresses in buffers), and arithmetic that
# follows from the text: no reassociation, infinities and NaN as they are.
METAL_FLAGS = ["-std=metal3.0", "-mmacosx-version-min=13.0", "-fno-fast-math", "-O2", "-Wall"]

# Core Graphics, of which nothing is called: a process without it is given no default GPU, says the
# documentation of MTLCreateSystemDefaultDevice. "Needed" keeps it under -dead_strip_dylibs too.
FRAMEWORKS = ["-framework", "Foundation", "-framework", "Metal"]
FRAMEWORKS += ["-Wl,-needed_framework,CoreGraphics"]


def is_wanted() -> bool:
    """Whether to build the extension; says so where the software device cannot be."""
    if sys.platform == "darwin":
        return True
    if os.environ.get("SMELT_SOFTMETAL", "") in ("", "0"):
        return False
    missing = _flags().missing()
    if missing:
        print(f"smelt: no software Metal device: {missing}", file=sys.stderr)
    return not missing


def _flags():
    spec = importlib.util.spec_from_file_location("softmetal_flags", SOFTWARE / "flags.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kernel_text() -> str:
    """All files of metal/ as one text that needs no other: each file once, includes in place. The
    registries (*.def), which are read several times, are repeated. Lines are numbered as in the
    files."""
    seen: set[Path] = set()

    def text(path: Path) -> str:
        path = path.resolve()
        if path in seen and path.suffix != ".def":
            return ""
        seen.add(path)
        parts: list[str] = []
        source, at = path.read_text("utf-8"), 0
        name = path.relative_to(ROOT).as_posix()
        parts.append(f'#line 1 "{name}"\n')
        for match in INCLUDE.finditer(source):
            parts.append(source[at : match.start()])
            parts.append(text(path.parent / match[1]))
            at = match.end()
            line = source.count("\n", 0, at) + 1
            parts.append(f'#line {line} "{name}"')
        parts.append(source[at:] if source.endswith("\n") else source[at:] + "\n")
        return "".join(parts)

    return "".join(text(path) for path in sorted((ROOT / "metal").glob("*.metal")))


def extension(stable_abi: list[tuple[str, str]], flags: list[str]) -> Extension:
    sources = [*(ROOT / "native/metal").glob("*.m"), ROOT / "native/checks.c"]
    depends = [path for folder in ("native", "metal") for path in (ROOT / folder).rglob("*.*")]
    return Extension(
        NAME,
        ["src/smelt/_metal.pyx", *sorted(path.relative_to(ROOT).as_posix() for path in sources)],
        include_dirs=["native", "metal"],
        depends=[path.relative_to(ROOT).as_posix() for path in depends],
        define_macros=stable_abi,
        extra_compile_args=[*flags, "-fno-objc-arc"],
        extra_link_args=FRAMEWORKS,
        py_limited_api=True,
    )


def write_kernels(package: Path) -> None:
    """Puts smelt.metal, and where Metal's compiler is there smelt.metallib, into the package."""
    package.mkdir(parents=True, exist_ok=True)
    source, library = package / "smelt.metal", package / "smelt.metallib"
    source.write_text(kernel_text(), "utf-8")
    library.unlink(missing_ok=True)
    if sys.platform != "darwin":
        return
    metal = ["xcrun", "-sdk", "macosx", "metal"]
    later = "they are compiled from their source when a model is loaded"
    try:
        subprocess.run([*metal, "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        how = "Xcode brings it, from 26 on after `xcodebuild -downloadComponent MetalToolchain`"
        print(f"smelt: no compiler for the Metal kernels: {later} ({how})", file=sys.stderr)
        return
    done = subprocess.run([*metal, *METAL_FLAGS, "-o", str(library), str(source)], check=False)
    if done.returncode:
        library.unlink(missing_ok=True)
        print(f"smelt: Metal's compiler refuses the kernels: {later}", file=sys.stderr)
    else:
        print(f"smelt: the Metal kernels are compiled into {library}", file=sys.stderr)


def build_software_device(
    sources: list[str], target: Path, temporary: Path, macros: list[tuple[str, str]]
) -> None:
    """Compiles the extension's sources, Cython's output among them, and the software Metal device
    of tests/softmetal into one module."""
    flags = _flags()
    files = [*map(Path, sources), *sorted(SOFTWARE.glob("*.m")), *sorted(SOFTWARE.glob("*.cpp"))]
    folders = ["native", "metal", sysconfig.get_path("include")]
    options = [f"-I{ROOT / folder}" for folder in folders]
    options += [f"-D{name}={value}" for name, value in macros]
    temporary = (temporary / "softmetal").resolve()
    temporary.mkdir(parents=True, exist_ok=True)

    def compiled(source: Path) -> str:
        result = temporary / f"{source.name}.o"
        command = [*flags.compile_command(source), *options, "-c", str(source), "-o", str(result)]
        subprocess.run(command, check=True, cwd=ROOT)
        return str(result)

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        objects = list(workers.map(compiled, files))
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*flags.link_command(), *objects, "-o", str(target)], check=True)
