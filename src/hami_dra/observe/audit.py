"""Who holds memory of a card past the limiter: the driver's processes against the ledgers. Pure.

The limiter books before it allocates and gives back after it freed, so a ledger that is read after the driver
never shows less than the driver for a process that goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from hami_dra.model.names import MIB
from hami_dra.observe.processes import TenantProcess
from hami_dra.observe.shares import NodeShare

SLACK = 512 * MIB
"""What a process may hold beyond its booking: code of modules and the driver's own buffers."""

Kind = Literal["without-limiter", "beyond-ledger", "without-share"]
"""No slot in the ledger; more than its slot says; a Pod without a share of the card."""


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


def judge(
    processes: Iterable[TenantProcess], shares_of: Callable[[str], Iterable[NodeShare]]
) -> list[Finding]:
    """Every process that holds memory which is not booked. SHARES_OF: a Pod's shares, by its uid.

    Processes of two containers of a Pod may have the same number inside: they are judged together.
    """
    groups: dict[tuple[str, str, int], list[TenantProcess]] = {}
    for process in processes:
        groups.setdefault((process.pod_uid, process.device_uuid, process.inner_pid), []).append(process)
    findings = []
    for (pod_uid, uuid, inner_pid), group in groups.items():
        shares = [share for share in shares_of(pod_uid) if share.device_uuid == uuid]
        if any(share.trusted for share in shares):
            continue
        slots = [slot for share in shares for slot in share.ledger.living if slot.pid == inner_pid]
        if not slots:
            kind: Kind = "without-limiter" if shares else "without-share"
            findings += [Finding(process, kind, process.memory) for process in group if process.memory]
            continue
        excess = sum(process.memory for process in group) - sum(slot.used for slot in slots)
        if excess > SLACK * len(slots):
            worst = max(group, key=lambda process: process.memory)
            findings.append(Finding(worst, "beyond-ledger", excess))
    return findings


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
