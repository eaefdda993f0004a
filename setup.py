"""The compiled extensions of smelt; every other setting is in pyproject.toml."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent))  # pip builds without it
import setup_metal

# The stable ABI of Python 3.10: one wheel serves every later version.
STABLE_ABI = [("Py_LIMITED_API", "0x030A0000"), ("CYTHON_LIMITED_API", "1")]

# Contraction stays off because results must not depend on what a compiler chooses to fuse:
# where a fused multiply-add is meant, the code says so.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-pthread", "-Wall", "-g0"]


def extension(name: str, *patterns: str) -> Extension:
    sources = sorted(path for pattern in patterns for path in glob(pattern, recursive=True))
    return Extension(
        f"smelt.{name}",
        [f"src/smelt/{name}.pyx", *sources],
        include_dirs=["native"],
        depends=glob("native/**/*", recursive=True),
        define_macros=STABLE_ABI,
        extra_compile_args=FLAGS,
        extra_link_args=["-pthread"],
        libraries=["m"],
        py_limited_api=True,
    )


class BuildExtensions(build_ext):
    """Compiles the sources of an extension side by side; puts the kernels of Metal beside it."""

    def build_extension(self, ext):
        if ext.name != setup_metal.NAME:
            super().build_extension(ext)
            return
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        setup_metal.write_kernels(target.parent)
        if sys.platform == "darwin":
            super().build_extension(ext)
        else:
            from Cython.Build import cythonize

            (ext,) = cythonize([ext])
            setup_metal.build_software_device(
                ext.sources, target, Path(self.build_temp), STABLE_ABI
            )

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        for ext in self.extensions:
            if ext.name == setup_metal.NAME:
                setup_metal.write_kernels(Path("src/smelt"))

    def build_extensions(self):
        compile_in_turn = self.compiler.compile

        def compile_side_by_side(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as workers:
                parts = workers.map(lambda source: compile_in_turn([source], **options), sources)
                return [name for part in parts for name in part]

        self.compiler.compile = compile_side_by_side
        super().build_extensions()


extensions = [
    extension("_gguf", "native/gguf/*.c"),
    extension("_quant", "native/formats/*.c", "native/quantise/*.c"),
    extension("_cpu", "native/*.c", "native/cpu/**/*.c", "native/formats/*.c"),
]
if setup_metal.is_wanted():
    extensions.append(setup_metal.extension(STABLE_ABI, FLAGS))
setup(cmdclass={"build_ext": BuildExtensions}, ext_modules=extensions)
