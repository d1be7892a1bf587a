"""Writing files that others read at any moment: whole, by rename.

Nothing is synced to the disk: no container outlives a power cut, and a plugin that starts believes no file
that it cannot check. See docs/adr/0011-nothing-is-synced.md.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_libc = ctypes.CDLL(None)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # fcntl.h, stdio.h


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def remove_whole(path: Path) -> None:
    """Remove what `write_whole` wrote, or began to write when it was killed; fine when there is nothing."""
    _remove(path)
    tidy(path)


def tidy(path: Path) -> None:
    """Remove what is left beside PATH by whoever was killed while writing it."""
    _remove(_temporary(path))


def _remove(path: Path) -> None:
    """A read-only file system refuses to remove even what is not there."""
    if path.exists():
        path.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace PATH by rename: whoever reads it, also after a SIGKILL, sees the old or the new content whole.

    After a power cut it may be anything. One writer only.
    """
    os.rename(_written(path, data, mode), path)


def ensure_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """As `write_whole`, unless PATH says DATA already."""
    with suppress(OSError):
        if path.read_bytes() == data:
            return
    write_whole(path, data, mode=mode)


def rewrite_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """As `write_whole`, for a file that is written again and again.

    ext4 writes a file out that is renamed over another (auto_da_alloc), which takes 0.1 ms, and tens of them
    on a busy disk. It does not when the two exchange their names.
    """
    temporary = _written(path, data, mode)
    if exchange(temporary, path):
        os.unlink(temporary)
    else:  # the first time, or on a file system that cannot
        os.rename(temporary, path)


@contextmanager
def created(path: Path, mode: int) -> Iterator[int]:
    """The descriptor of a new, empty file with this MODE; an error in the block says that it is of PATH."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)  # the umask must not decide
        yield descriptor
    except OSError as problem:
        problem.filename = problem.filename or str(path)
        raise
    finally:
        os.close(descriptor)


def _written(path: Path, data: bytes, mode: int) -> Path:
    temporary = _temporary(path)
    with created(temporary, mode) as descriptor:
        while data:  # a file object takes half as long again for so little
            data = data[os.write(descriptor, data) :]
    return temporary


def exchange(one: Path, other: Path) -> bool:
    """Have two files swap names (renameat2(2)); False when one is missing, or the file system cannot."""
    names = os.fsencode(one), os.fsencode(other)
    failed: int = _libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    return not failed
