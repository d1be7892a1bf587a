"""Finding the driver's files below the driver root, and where the container runtime sees them.

The driver root is `/`, the root of a driver container or another folder that holds a driver. It may be
mounted elsewhere for us (`/driver-root`), so links in it are followed inside it, as `chroot` would.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hami_dra.model.errors import DriverError

LIBRARY_FOLDERS = (
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib",
    "usr/local/lib",
)
PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin", "usr/local/bin")
_MOST_LINKS = 40  # as the kernel (path_resolution(7))


@dataclass(frozen=True)
class DriverRoot:
    """`path` is where we see the driver root, `host` where the container runtime sees it."""

    path: Path
    host: Path

    def library(self, name: str) -> Path | None:
        """Path (as we see it, links resolved) of a shared library, or None."""
        return self._first(LIBRARY_FOLDERS, name)

    def program(self, name: str) -> Path | None:
        """Path (as we see it, links resolved) of a program, or None."""
        return self._first(PROGRAM_FOLDERS, name)

    def required_library(self, name: str) -> Path:
        """As `library`; errors.DriverError says where it looked and what to set."""
        found = self.library(name)
        if found is None:
            raise DriverError(
                f"{name} is not below {self.host} (looked in {', '.join(LIBRARY_FOLDERS)}). Install the"
                " driver, or set drivers.nvidia.containerDriver: true for a driver container"
                " (/run/nvidia/driver), false for a driver on the host (/); for one in another folder set"
                " drivers.nvidia.driverRoot"
            )
        return found

    def on_host(self, path: Path) -> str:
        """The host's path of a file that we see at PATH."""
        return str(self.host / path.relative_to(self.path))

    def _first(self, folders: tuple[str, ...], name: str) -> Path | None:
        for folder in folders:
            found = self.resolve(f"{folder}/{name}")
            if found is not None and found.is_file():
                return found
        return None

    def resolve(self, relative: str) -> Path | None:
        """Follow links as if `path` were the root directory; None when a part is missing. errors.DriverError:
        the root does not answer, as a stale mount, or a part is not ours to look at."""
        try:
            return self._resolved(relative)
        except OSError as problem:
            raise DriverError(f"{self.host} does not answer: {problem}") from problem

    def _resolved(self, relative: str) -> Path | None:
        todo = relative.split("/")[::-1]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            at = self.path.joinpath(*done, part)
            if at.is_symlink():
                links += 1
                if links > _MOST_LINKS:
                    return None
                target = os.readlink(at)
                if target.startswith("/"):
                    done = []
                todo += target.split("/")[::-1]
            elif at.exists():
                done.append(part)
            else:
                return None
        return self.path.joinpath(*done)
