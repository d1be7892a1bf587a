"""Writing files that others read at any moment: whole, by rename.

Nothing is synced to the disk: no container outlives a power cut, and a plugin that starts believes no file
that it cannot check. See docs/adr/0011-nothing-is-synced.md.
"""

from __future__ import annotations

import os
from pathlib import Path


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def remove_whole(path: Path) -> None:
    """Remove what `write_whole` wrote, or began to write when it was killed; fine when there is nothing."""
    path.unlink(missing_ok=True)
    _temporary(path).unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace PATH by rename: whoever reads it, also after a SIGKILL, sees the old or the new content whole.

    After a power cut it may be anything. One writer only.
    """
    temporary = _temporary(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # the umask must not decide
        file.write(data)
    os.rename(temporary, path)
