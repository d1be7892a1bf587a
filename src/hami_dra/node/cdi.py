"""Claim -> CDI specification: one device for each share, what they all need at the top.

Mounts as in docs/interfaces.md. A specification is JSON, which YAML readers read; that is ten times
faster to write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hami_dra.model.names import DRIVER
from hami_dra.model.share import PreparedClaim, Share
from hami_dra.node.files import write_whole
from hami_dra.node.limiter_files import IN_CONTAINER, LimiterFiles

KIND = f"k8s.{DRIVER}/claim"
# The first version whose device names may start with a digit is 0.5.0; annotations came with 0.6.0.
VERSION = "0.6.0"
_PREFIX = f"k8s.{DRIVER}-claim_"
_SHARES_IN_CONTAINER = "/run/hami/shares"

Edits = dict[str, Any]


def device_name(uid: str, share: Share) -> str:
    """Unique for ever: runtimes cache specifications."""
    return f"{uid}-{share.device}-{share.share_id}"


def specification(
    claim: PreparedClaim,
    folders: Mapping[str, Path],
    limiter: LimiterFiles,
    common: Edits,
    by_device: Mapping[str, Edits],
) -> dict[str, Any]:
    """FOLDERS by share id, BY_DEVICE: the driver's edits for a card, by device name; COMMON: for any card.

    The limiter comes with each share that has a limit; runtimes mount a destination once.
    """
    return {
        "cdiVersion": VERSION,
        "kind": KIND,
        "annotations": {f"{DRIVER}/claim": f"{claim.namespace}/{claim.name}"},
        "containerEdits": _merged(common),
        "devices": [
            {
                "name": device_name(claim.uid, share),
                "containerEdits": _merged(
                    by_device.get(share.device, {}), _share_edits(share, folders[share.share_id], limiter)
                ),
            }
            for share in claim.shares
        ],
    }


class CdiFolder:
    """The specifications of our claims in the runtime's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, uid: str, spec: dict[str, Any]) -> None:
        """Write or replace the specification of a claim."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._path(uid), json.dumps(spec, indent=1).encode())

    def remove(self, uid: str) -> None:
        """Remove it; fine when it is gone."""
        self._path(uid).unlink(missing_ok=True)

    def uids(self) -> set[str]:
        """The claims that have a specification."""
        return {path.stem.removeprefix(_PREFIX) for path in self._folder.glob(f"{_PREFIX}*.yaml")}

    def _path(self, uid: str) -> Path:
        return self._folder / f"{_PREFIX}{uid}.yaml"


def _share_edits(share: Share, folder: Path, limiter: LimiterFiles) -> Edits:
    if not share.limited:
        return {}
    inside = f"{_SHARES_IN_CONTAINER}/{share.share_id}"
    mounts = [
        _mount(limiter.library, IN_CONTAINER),
        _mount(limiter.preload, "/etc/ld.so.preload"),
        _mount(folder, inside),
        _mount(folder / "ledger", f"{inside}/ledger", access="rw"),
    ]
    return {"mounts": mounts}


def _mount(host: Path, container: str, access: str = "ro") -> Edits:
    options = [access, "nosuid", "nodev", "bind"]
    return {"hostPath": str(host), "containerPath": container, "options": options}


def _merged(*several: Edits) -> Edits:
    """Lists joined; empty ones left out, as the format wants."""
    keys = {key for edits in several for key in edits}
    joined = {key: [entry for edits in several for entry in edits.get(key, [])] for key in sorted(keys)}
    return {key: entries for key, entries in joined.items() if entries}
