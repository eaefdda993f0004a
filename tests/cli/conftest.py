"""A model small enough to be made and run in a moment, and a way to run the command line."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter

from smelt.cli import main
from tiny_model import write_tiny_llama

PATIENCE = 60  # seconds, for a machine that is only slow


def write_vocabulary(path: Path) -> Path:
    """A vocabulary without weights: byte tokens, and a few pieces."""
    pieces = ["▁", "t", "h", "e", "th", "he", "▁t", "▁the", "a", "c", "ca", "at", "▁cat", "."]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(len(tokens))])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(pieces))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("cli") / "tiny.gguf")


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("cli") / "vocabulary.gguf")


@pytest.fixture
def smelt(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs main() in this process: (exit code, standard output, standard error)."""

    def run(*argv: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in argv])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def spawn() -> Callable[..., subprocess.Popen[bytes]]:
    """Starts `python -m smelt` in a process of its own, which can import what this one can."""

    def start(*argv: object, **options: Any) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        environment.pop("COLUMNS", None)  # a terminal has its own; pytest-xdist sets it
        command = [sys.executable, "-m", "smelt", *map(str, argv)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env=environment, **{"stdout": pipe, "stderr": pipe, **options}
        )

    return start


class Terminal:
    """A terminal of which a process gets the inside, and the test reads what it shows."""

    def __init__(self) -> None:
        self._outside, self._inside = pty.openpty()

    def inside(self, columns: int) -> int:
        """The file descriptor for a process, of this width."""
        fcntl.ioctl(self._inside, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        return self._inside

    def answer(self, prompt: str, text: str) -> str:
        """Waits until the prompt is shown and types the text: all that was shown until then."""
        shown = b""
        while not shown.endswith(prompt.encode()):
            ready, _, _ = select.select([self._outside], [], [], PATIENCE)
            assert ready, f"no prompt after {shown!r}"
            shown += os.read(self._outside, 1)
        os.write(self._outside, text.encode())
        return shown.decode()

    def read(self) -> str:
        """All that is shown until the process ends."""
        os.close(self._inside)
        shown = b""
        try:
            while block := os.read(self._outside, 65536):
                shown += block
        except OSError:  # how Linux tells that nobody has the inside open any more
            pass
        return shown.decode()

    def close(self) -> None:
        os.close(self._outside)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()
