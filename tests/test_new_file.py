"""Files that take their place when they are complete."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from smelt.new_file import check_place, replacing


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new"
    for text in (b"one", b"two"):
        with replacing(path) as file:
            file.write(text)
            assert not path.exists() or path.read_bytes() == b"one"
        assert path.read_bytes() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_there_survives_a_failure(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "old"
    path.write_text("mine")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with pytest.raises(OSError, match=r"No space left.*new'"), replacing(path):
        raise OSError(28, os.strerror(28))
    with pytest.raises(FileNotFoundError, match="absent/new'"), replacing(tmp_path / "absent/new"):
        pass


def test_folders_and_devices_are_not_replaced(tmp_path: Path) -> None:
    """Whoever may write to /dev can put a file in the place of /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path("")):
        with pytest.raises(FileExistsError, match="found something else"):
            check_place(path)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
