"""Writing files that others read at any moment: whole by rename, and on the disk where that matters."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path


class Sync(Enum):
    """What is there after a power cut: anything, the old or the new content whole, or surely the new one."""

    NO = 0
    WHOLE = 1
    NEW = 2


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def remove_whole(path: Path) -> None:
    """Remove what `write_whole` wrote, or began to write when it was killed; fine when there is nothing."""
    path.unlink(missing_ok=True)
    _temporary(path).unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, *, mode: int = 0o644, sync: Sync = Sync.NO) -> None:
    """Replace PATH by rename; after a power cut what SYNC says. One writer only."""
    temporary = _temporary(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # the umask must not decide
        file.write(data)
        if sync is not Sync.NO:
            file.flush()
            os.fsync(descriptor)
    os.rename(temporary, path)
    if sync is Sync.NEW:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
