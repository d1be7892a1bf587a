"""Tar archives that are the same bytes whenever they are made: names in order, one time, nobody's names."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """A file, a link where `link` says where to, or a folder."""

    name: str
    data: bytes
    executable: bool
    link: str = ""
    is_folder: bool = False


def folder(root: Path, name: str, files: Iterable[Path]) -> Iterator[Entry]:
    """FILES of ROOT, below NAME."""
    for path in files:
        executable = bool(path.stat().st_mode & 0o100)
        yield Entry(f"{name}/{path.relative_to(root)}", path.read_bytes(), executable)


def unpacked(path: Path) -> Iterator[Entry]:
    """What is in another archive; its folders too, without which ansible-galaxy does not install it."""
    with tarfile.open(path) as archive:
        for member in archive:
            if member.issym():
                yield Entry(member.name, b"", False, member.linkname)
            elif member.isdir():
                yield Entry(member.name, b"", True, is_folder=True)
            elif member.isfile():
                file = archive.extractfile(member)
                assert file is not None  # noqa: S101  a regular file has content
                yield Entry(member.name, file.read(), bool(member.mode & 0o100))


def pack(path: Path, entries: Iterable[Entry], epoch: int) -> None:
    """Write ENTRIES to the gzipped tar PATH."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for entry in sorted(entries):
            info = tarfile.TarInfo(entry.name)
            info.mtime, info.mode = epoch, 0o755 if entry.executable else 0o644
            if entry.link:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
            if entry.is_folder:
                info.type = tarfile.DIRTYPE
            info.size = len(entry.data)
            archive.addfile(info, io.BytesIO(entry.data))
