"""Puts the limiter where containers mount it from: under a name of its content, by rename.

A running container keeps the file that it has mapped; nothing is ever written over it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from hami_dra.node.files import ensure_whole

IN_CONTAINER = "/usr/local/hami/libvgpu.so"


@dataclass(frozen=True)
class LimiterFiles:
    """Host paths of the limiter and of the `ld.so.preload` that names it."""

    library: Path
    preload: Path


def install(limiter: Path, state: Path) -> LimiterFiles:
    """Copy LIMITER into STATE/lib if that very content is not there yet."""
    folder = state / "lib"
    folder.mkdir(parents=True, exist_ok=True)
    data = limiter.read_bytes()
    library = folder / f"libvgpu.so.{hashlib.sha256(data).hexdigest()[:12]}"
    ensure_whole(library, data, mode=0o755)
    preload = folder / "ld.so.preload"
    ensure_whole(preload, f"{IN_CONTAINER}\n".encode())
    return LimiterFiles(library, preload)
