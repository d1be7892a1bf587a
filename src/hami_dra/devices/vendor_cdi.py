"""The vendor's own CDI specifications on this host: is there a device for a card, and what is its name?"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog
import yaml

log = structlog.get_logger(__name__)

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Stamp = tuple[int, int, int]


class VendorCdi:
    """Specifications of one KIND in FOLDERS. Read again when a file changes: toolkits rewrite theirs."""

    def __init__(self, kind: str, folders: Iterable[Path]) -> None:
        self._kind = kind
        self._folders = tuple(folders)
        self._read: dict[Path, tuple[_Stamp, dict[str, Any]]] = {}

    def device_for(self, uuid: str, number: int, node: str) -> str | None:
        """Qualified CDI name of a device, by UUID or by number; None without a specification for it."""
        named = [entry for spec in self._specs() for entry in spec.get("devices") or []]
        if any(str(entry.get("name")) == uuid for entry in named):
            return f"{self._kind}={uuid}"
        for entry in named:
            # A toolkit's number is an index, which need not be the minor: the device NODE decides.
            edits = entry.get("containerEdits") or {}
            nodes = [listed.get("path") for listed in edits.get("deviceNodes") or []]
            if str(entry.get("name")) == str(number) and (not nodes or node in nodes):
                return f"{self._kind}={number}"
        return None

    def _specs(self) -> list[dict[str, Any]]:
        files = [
            folder / name
            for folder in self._folders
            if folder.is_dir()
            for name in sorted(os.listdir(folder))
            if name.endswith((".yaml", ".json")) and not name.startswith((".", "k8s."))
        ]
        return [spec for path in files if (spec := self._load(path)).get("kind") == self._kind]

    def _load(self, path: Path) -> dict[str, Any]:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._read.get(path)
            if known and known[0] == stamp:
                return known[1]
            spec = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506
            spec = spec if isinstance(spec, dict) else {}
        except (OSError, yaml.YAMLError) as problem:
            log.warning("CDI specification ignored", file=str(path), error=str(problem))
            return {}
        self._read[path] = (stamp, spec)
        return spec
