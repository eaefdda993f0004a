"""Builds what the Metal device needs: one text of all kernels, the library compiled from it, and the
extension; on macOS for the GPU, on Linux (SMELT_SOFTMETAL=1) for the software device of the tests."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension

ROOT = Path(__file__).resolve().parent
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)".*$', re.MULTILINE)

# The oldest system that has what the kernels use (addresses in buffers), and arithmetic that
# follows from the text: no reassociation, infinities and NaN as they are.
METAL_FLAGS = ["-std=metal3.0", "-mmacosx-version-min=13.0", "-fno-fast-math", "-O2", "-Wall"]


def is_wanted() -> bool:
    return sys.platform == "darwin" or os.environ.get("SMELT_SOFTMETAL", "") not in ("", "0")


def kernel_text() -> str:
    """All files of metal/ as one text that needs no other: each file once, includes in place. The
    registries (*.def), which are read several times, are repeated. Line numbers refer to the files."""
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
        "smelt._metal",
        ["src/smelt/_metal.pyx", *sorted(path.relative_to(ROOT).as_posix() for path in sources)],
        include_dirs=["native", "metal"],
        depends=[path.relative_to(ROOT).as_posix() for path in depends],
        define_macros=stable_abi,
        extra_compile_args=[*flags, "-fno-objc-arc"],
        extra_link_args=["-framework", "Foundation", "-framework", "Metal"],
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
    command = ["xcrun", "-sdk", "macosx", "metal", *METAL_FLAGS, "-o", str(library), str(source)]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        library.unlink(missing_ok=True)
        print(
            f"smelt: Metal's compiler is not there ({error}): the kernels are compiled from their "
            "source when a model is loaded (xcode-select --install, or Xcode, brings it)",
            file=sys.stderr,
        )
    else:
        print(f"smelt: the Metal kernels are compiled into {library}", file=sys.stderr)


def build_software_device(sources: list[str], target: Path, temporary: Path, python: str) -> None:
    """Compiles the extension and the software Metal device of tests/softmetal into one module.

    sources: of the extension, Cython's output among them; python: the folder of Python.h.
    """
    sys.path.insert(0, str(ROOT / "tests" / "softmetal"))
    import flags

    software = ROOT / "tests" / "softmetal"
    files = [*sources, *map(str, sorted(software.glob("*.m"))), *map(str, sorted(software.glob("*.cpp")))]
    temporary.mkdir(parents=True, exist_ok=True)

    def build(name: str) -> str:
        result = temporary / (Path(name).name + ".o")
        include = ["native", "metal", "tests/softmetal", python]
        subprocess.run(
            [*flags.compile_command(name), *(f"-I{path}" for path in include), "-c", name, "-o", str(result)],
            check=True,
            cwd=ROOT,
        )
        return str(result)

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        objects = list(workers.map(build, files))
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*flags.link_command(), *objects, "-o", str(target)], check=True)
