"""Puts the limiter where containers mount it from: under a name of its content, by rename.

A running container keeps the file that it has mapped; nothing is ever written over it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import structlog

from hami_dra.node.files import ensure_whole

log = structlog.get_logger(__name__)

IN_CONTAINER = "/usr/local/hami/libvgpu.so"


@dataclass(frozen=True)
class LimiterFiles:
    """Host paths of the limiter and of the `ld.so.preload` that names it."""

    library: Path
    preload: Path


def install(limiter: Path, folder: Path) -> LimiterFiles:
    """Copy LIMITER into FOLDER if that very content is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if not executable(folder):
        log.warning(
            "Pods with hostUsers: false cannot use shares: the limiter is on a file system mounted noexec",
            folder=str(folder),
            fix="set the limiterDirectory of the driver to a folder that is not",
        )
    data = limiter.read_bytes()
    library = folder / f"libvgpu.so.{hashlib.sha256(data).hexdigest()[:12]}"
    ensure_whole(library, data, mode=0o755)
    preload = folder / "ld.so.preload"
    ensure_whole(preload, f"{IN_CONTAINER}\n".encode())
    return LimiterFiles(library, preload)


def executable(folder: Path) -> bool:
    """Whether a library may be mapped from FOLDER. Some node images mount /var noexec; a runtime lifts that
    from its mount of the library, but not for a Pod in a user namespace.

    It also lifts it from our own mount of FOLDER. The host's mounts are those of process 1, if the plugin is
    in the host's PID namespace, as the audit wants it.
    """
    try:
        mounts = [line.split()[4:6] for line in Path("/proc/1/mountinfo").read_text().splitlines()]
    except OSError:
        return True
    # The innermost counts, and of several on one folder the last.
    around = [mount for mount in mounts if folder.absolute().is_relative_to(mount[0])]
    around.sort(key=lambda mount: len(mount[0]))
    return not around or "noexec" not in around[-1][1].split(",")
