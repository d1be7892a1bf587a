"""The shares of this node, from their folders: what each may use, and what it uses now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hami_dra.observe import ledgers
from hami_dra.observe.ledgers import Reading


@dataclass(frozen=True)
class NodeShare:
    """A share as its `limits` and `ledger` say (docs/interfaces.md). `memory` in bytes, `cores` in percent.

    `trusted`: its class asks for no limiter, so nothing of it is in the ledger.
    """

    share_id: str
    device_uuid: str
    memory: int
    cores: int
    soft: bool
    trusted: bool
    ledger: Reading

    @property
    def used(self) -> int:
        """Bytes that living processes hold together."""
        return self.ledger.used

    @property
    def active_s(self) -> int:
        """CLOCK_MONOTONIC in seconds when a process last computed; 0: never."""
        return max((slot.active_s for slot in self.ledger.slots), default=0)

    @property
    def core_limit(self) -> float:
        """Compute that it may use, 0..1: without a reservation, or with a soft one, all that is idle."""
        return 1.0 if self.soft or self.cores == 0 else self.cores / 100


def read(state: Path) -> Iterator[NodeShare]:
    """Every share that has a folder below STATE. One that goes away meanwhile is left out."""
    folder = state / "shares"
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            limits = _limits((entry / "limits").read_text())
            yield NodeShare(
                share_id=limits["share"],
                device_uuid=limits["device"],
                memory=int(limits["memory"]),
                cores=int(limits["cores"]),
                trusted=limits.get("enforcement") == "none",
                soft=limits.get("cores_policy") == "soft",
                ledger=_ledger(entry / "ledger"),
            )
        except (OSError, ValueError, KeyError):
            continue


def _ledger(path: Path) -> Reading:
    """A container can write anything into its ledger, or cut it short: its share is told all the same."""
    try:
        return ledgers.read(path)
    except ValueError:
        return Reading(0, 0, damaged=True)


def ledger_of(state: Path, share_id: str) -> Path:
    """The ledger of a share, which has its id for a folder."""
    return state / "shares" / share_id / "ledger"


def _limits(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
