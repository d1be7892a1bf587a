"""Prometheus and promtool, unpacked from Debian and never installed: its package would start a service."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import debian, versions
from .progress import step


def folder() -> Path:
    """Folder with the programs `prometheus` and `promtool`, fetched when the cache has none."""
    into = versions.CACHE / "prometheus" / versions.digest("prometheus", versions.DEBIAN_SUITE, "1")
    if not into.is_dir():
        partial = into.with_name(into.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with step("fetch prometheus and promtool from Debian", "20 s"):
            debian.unpack(("prometheus",), versions.DEBIAN_SUITE, partial)
        partial.rename(into)
    return into / "usr/bin"
