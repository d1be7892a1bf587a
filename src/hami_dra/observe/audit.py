"""Who holds memory of a card past the limiter: the driver's processes against the ledgers. Pure.

The limiter books before it allocates and gives back after it freed, so a ledger that is read after the driver
never shows less than the driver for a process that goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from hami_dra.model.ledger import Slot
from hami_dra.model.names import MIB
from hami_dra.observe.processes import TenantProcess
from hami_dra.observe.shares import NodeShare

SLACK = 512 * MIB
"""What a process may hold beyond its booking: code of modules and the driver's own buffers."""

Kind = Literal["without-limiter", "beyond-ledger", "without-ledger", "without-share"]
"""No slot in the ledger; more than its slot says; a ledger that cannot be read; a Pod without a share of the
card."""


Key = tuple[int, int, str, Kind]


@dataclass(frozen=True)
class Finding:
    """A process that goes past the limiter, and the bytes that nobody booked."""

    process: TenantProcess
    kind: Kind
    memory: int

    @property
    def key(self) -> Key:
        """The same in the next round while the process goes on."""
        return self.process.pid, self.process.started, self.process.device_uuid, self.kind


@dataclass(frozen=True)
class Place:
    """A living process's slot in a share's ledger, by its number."""

    share_id: str
    number: int
    slot: Slot


@dataclass(frozen=True)
class Group:
    """Processes of a Pod on one card that have the same number inside: those of two containers may.

    SHARED: whether the Pod has a share of the card; DAMAGED: one whose ledger cannot be read; TRUSTED: one
    that asks for no limiter. SLOTS: those of that number in the Pod's ledgers.
    """

    device_uuid: str
    processes: tuple[TenantProcess, ...]
    shared: bool
    damaged: bool
    trusted: bool
    slots: tuple[Place, ...]

    @property
    def booked(self) -> int:
        """Bytes that the processes booked themselves."""
        return sum(place.slot.used for place in self.slots)


def grouped(
    processes: Iterable[TenantProcess], shares_of: Callable[[str], Iterable[NodeShare]]
) -> list[Group]:
    """All processes, each with its slots. SHARES_OF: a Pod's shares, by its uid."""
    alike: dict[tuple[str, str, int], list[TenantProcess]] = {}
    for process in processes:
        alike.setdefault((process.pod_uid, process.device_uuid, process.inner_pid), []).append(process)
    groups = []
    for (pod_uid, uuid, inner_pid), found in alike.items():
        # Containers of one claim have one share.
        shares = {share.share_id: share for share in shares_of(pod_uid) if share.device_uuid == uuid}
        slots = [
            Place(share.share_id, number, slot)
            for share in shares.values()
            for number, slot in share.ledger.living.items()
            if slot.pid == inner_pid
        ]
        trusted = any(share.trusted for share in shares.values())
        damaged = any(share.ledger.damaged for share in shares.values())
        groups.append(Group(uuid, tuple(found), bool(shares), damaged, trusted, tuple(slots)))
    return groups


def judge(groups: Iterable[Group]) -> list[Finding]:
    """Every process that holds memory which is not booked."""
    findings = []
    for group in groups:
        if group.trusted:
            continue
        if not group.slots:
            kind = _kind(group)
            findings += [Finding(each, kind, each.memory) for each in group.processes if each.memory]
            continue
        excess = sum(process.memory for process in group.processes) - group.booked
        if excess > SLACK * len(group.slots):
            worst = max(group.processes, key=lambda process: process.memory)
            findings.append(Finding(worst, "beyond-ledger", excess))
    return findings


def _kind(group: Group) -> Kind:
    """Of a group that no slot vouches for."""
    if not group.shared:
        return "without-share"
    return "without-ledger" if group.damaged else "without-limiter"


class Confirmation:
    """Reports a finding when two rounds in a row have it: one round may see a process start or end."""

    def __init__(self) -> None:
        self._last: dict[Key, Finding] = {}
        self.standing: list[Finding] = []
        """What is found now and was found in the round before."""

    def round(self, findings: Iterable[Finding]) -> list[Finding]:
        """Take one round's findings; return those that stand for the first time."""
        before = {finding.key for finding in self.standing}
        now = {finding.key: finding for finding in findings}
        self.standing = [finding for key, finding in now.items() if key in self._last]
        self._last = now
        return [finding for finding in self.standing if finding.key not in before]
