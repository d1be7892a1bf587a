"""The claims prepared on this node, on disk: `{"version", "checksum", "payload"}`.

The checksum covers the payload's bytes as they are and not what they mean, so that a version of us
that adds a field cannot make the others' files look damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from hami_dra.model.errors import StateError
from hami_dra.model.share import PreparedClaim, Share
from hami_dra.node.files import rewrite_whole, tidy

VERSION = 1

Claims = dict[str, PreparedClaim]
"""By claim uid."""


class Checkpoint:
    """The file. Callers hold the state lock: two plugins run during a rolling update."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[bytes | None, Claims] = (None, {})  # read or written last, and what it says

    def load(self) -> Claims:
        """Return the prepared claims, none when there is no file; StateError when it is damaged."""
        try:
            data = self._path.read_bytes()
            known = self._known  # once: `shares` is called without the lock, and may set it
            if data != known[0]:
                known = self._known = (data, decode(data))
            return dict(known[1])
        except FileNotFoundError:
            return {}
        except StateError as problem:
            raise StateError(f"{self._path}: {problem}") from problem

    def shares(self) -> list[Share]:
        """All that is prepared, for whoever only looks; none while the file cannot be read."""
        try:
            return [share for claim in self.load().values() for share in claim.shares]
        except (StateError, OSError):
            return []

    def save(self, claims: Mapping[str, PreparedClaim]) -> None:
        """Write all of them, whole for whoever reads after a crash of ours; see `files` for power cuts."""
        data = encode(claims)
        rewrite_whole(self._path, data, mode=0o600)
        self._known = (data, dict(claims))

    def tidy(self) -> None:
        """Remove what a plugin left that was killed while it saved."""
        tidy(self._path)

    def is_there(self) -> bool:
        """Whether there is a file. One without claims stays, so without one nothing was ever prepared."""
        return self._path.exists()

    def replace_damaged(self, claims: Mapping[str, PreparedClaim]) -> Path | None:
        """As `save`, and keep the damaged file, if there is one, for a person to look at; return where it is.

        It goes only as the new one comes: without a file, whoever loads takes it that nothing is prepared.
        """
        kept = None
        if self.is_there():
            kept = self._path.with_name(f"{self._path.name}.damaged-{self._path.stat().st_mtime_ns}")
            with suppress(FileExistsError):  # from the last try, which found the disk full
                os.link(self._path, kept)
        self.save(claims)
        return kept


def encode(claims: Mapping[str, PreparedClaim]) -> bytes:
    """The file's bytes."""
    payload = msgspec.json.encode(list(claims.values())).decode()
    return msgspec.json.encode({"version": VERSION, "checksum": _checksum(payload), "payload": payload})


def decode(data: bytes) -> Claims:
    """Read the file's bytes; StateError says what is wrong with them."""
    try:
        outer = json.loads(data)
        version, checksum, payload = outer["version"], outer["checksum"], outer["payload"]
        if checksum != _checksum(payload):
            raise StateError("the checksum does not match, the file is damaged")
        if version != VERSION:
            raise StateError(f"version {version!r} is not known here (this is version {VERSION})")
        return {claim.uid: claim for claim in map(PreparedClaim.from_json, json.loads(payload))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise StateError(f"not a checkpoint: {problem!r}") from problem


def _checksum(payload: str) -> str:
    return hashlib.sha256(payload.encode()).hexdigest()
