"""New files, written beside their place and put there when they are complete."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["check_place", "replacing"]


def check_place(path: Path) -> None:
    """OSError where no file can come to be at `path`, or would replace a folder or a device: known
    before there is anything to write."""
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if path.exists() and not path.is_file():
        message = "Expected a file to replace, found something else"
        raise FileExistsError(errno.EEXIST, message, str(path))


@contextmanager
def replacing(path: Path, *, synced: bool = True) -> Iterator[BinaryIO]:
    """A new file that is found at `path` if all goes well; what was there before is replaced.

    On any error what was there stays, and nothing new is left. Raises OSError with the path, for a
    full disk too.

    synced: whether it shall also survive a loss of power that comes right afterwards, which takes
    as long as the disk needs.
    """
    check_place(path)
    partial = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        with open(partial, "xb") as file:
            yield file
            if synced:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            # Under the name that the caller knows: write() gives none, open() that of the partial.
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
