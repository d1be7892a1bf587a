"""Claim -> CDI specification: one device for each share, what they all need at the top.

Mounts as in docs/interfaces.md. A specification is JSON, which YAML readers read; that is ten times
faster to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from hami_dra.devices.backend import ClaimEdits, Edits
from hami_dra.model.share import PreparedClaim, Share
from hami_dra.node.files import ensure_whole, remove_whole
from hami_dra.node.limiter_files import IN_CONTAINER, LimiterFiles

# The first version whose device names may start with a digit is 0.5.0; annotations came with 0.6.0.
VERSION = "0.6.0"
_SHARES_IN_CONTAINER = "/run/hami/shares"
_PRELOAD = ("/etc/ld.so.preload", "/etc/ld-nix.so.preload")
"""What loaders read; that of Nixpkgs, which images made by Nix bring along, reads the second alone."""


def kind(driver: str) -> str:
    """Kind of our specifications of one driver."""
    return f"k8s.{driver}/claim"


def device_name(uid: str, share: Share) -> str:
    """Unique for ever: runtimes cache specifications."""
    return f"{uid}-{share.key}"


def specification(
    driver: str, claim: PreparedClaim, edits: ClaimEdits, limits: Mapping[str, Edits]
) -> dict[str, Any]:
    """EDITS: the family's. LIMITS: what our limiter adds, by `Share.key` (see `limiter_edits`)."""
    return {
        "cdiVersion": VERSION,
        "kind": kind(driver),
        "annotations": {f"{driver}/claim": f"{claim.namespace}/{claim.name}"},
        "containerEdits": _merged(edits.common),
        "devices": [
            {
                "name": device_name(claim.uid, share),
                **_noted_units(driver, share),
                "containerEdits": _merged(edits.shares.get(share.key, {}), limits.get(share.key, {}))
                or _mark(share),
            }
            for share in claim.shares
        ],
    }


def _noted_units(driver: str, share: Share) -> dict[str, Any]:
    """The units that containers were told, so that a checkpoint that is made anew gives them to no other."""
    return {"annotations": {f"{driver}/units": json.dumps(share.units)}} if share.units else {}


def _mark(share: Share) -> Edits:
    """For a share without edits of its own: runtimes refuse a specification with a device that has none."""
    name = re.sub(r"\W", "_", share.device).upper()
    return {"env": [f"HAMI_DEVICE_{name}={share.share_id or share.uuid}"]}


def limiter_edits(share: Share, folder: Path, limiter: LimiterFiles) -> Edits:
    """The limiter and the FOLDER of a share that it holds; runtimes mount a destination once."""
    inside = f"{_SHARES_IN_CONTAINER}/{share.share_id}"
    mounts = [
        # exec: /var may be mounted noexec. Where a runtime cannot lift that, the container must not start:
        # the loader goes on without a library that it cannot map.
        _mount(limiter.library, IN_CONTAINER, "ro", "exec"),
        *(_mount(limiter.preload, path, "ro") for path in _PRELOAD),
        _mount(folder, inside, "ro"),
        _mount(folder / "ledger", f"{inside}/ledger", "rw"),
    ]
    return {"mounts": mounts}


class CdiFolder:
    """The specifications of one driver's claims in the runtime's folder."""

    def __init__(self, folder: Path, driver: str) -> None:
        self._folder = folder
        self._prefix = f"k8s.{driver}-claim_"
        self._units = f"{driver}/units"

    def write(self, uid: str, spec: dict[str, Any]) -> None:
        """Write or replace the specification of a claim. Runtimes read a file again that is replaced."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ensure_whole(self._path(uid), msgspec.json.encode(spec))

    def remove(self, uid: str) -> None:
        """Remove it; fine when it is gone."""
        remove_whole(self._path(uid))

    def uids(self) -> set[str]:
        """The claims that have a specification."""
        return {path.stem.removeprefix(self._prefix) for path in self._folder.glob(f"{self._prefix}*.yaml")}

    def units(self, uid: str) -> dict[str, dict[str, tuple[int, ...]]]:
        """Units by device name of the specification, as `specification` noted them; empty without any."""
        try:
            devices = json.loads(self._path(uid).read_bytes())["devices"]
            noted = {each["name"]: (each.get("annotations") or {}).get(self._units) for each in devices}
            return {
                name: {capacity: tuple(numbers) for capacity, numbers in json.loads(text).items()}
                for name, text in noted.items()
                if text
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _path(self, uid: str) -> Path:
        return self._folder / f"{self._prefix}{uid}.yaml"


def _mount(host: Path, container: str, *access: str) -> Edits:
    options = [*access, "nosuid", "nodev", "bind"]
    return {"hostPath": str(host), "containerPath": container, "options": options}


def _merged(*several: Edits) -> Edits:
    """Lists joined; empty ones left out, as the format wants."""
    keys = {key for edits in several for key in edits}
    joined = {key: [entry for edits in several for entry in edits.get(key, [])] for key in sorted(keys)}
    return {key: entries for key, entries in joined.items() if entries}
