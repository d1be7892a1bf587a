"""The audit on a node, round by round: driver -> ledgers -> /proc -> findings -> Event, metric, SIGKILL.

What a process holds beyond its ledger is booked there, so that its share pays for it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import structlog

from hami_dra.kube import KubeClient, events
from hami_dra.model import errors
from hami_dra.model.ledger import Excess
from hami_dra.model.quantity import format_bytes
from hami_dra.observe import pods, processes
from hami_dra.observe.audit import Confirmation, Finding, Key, grouped, judge
from hami_dra.observe.excess import Excesses
from hami_dra.observe.exposition import Family, Table, render
from hami_dra.observe.holders import Grant
from hami_dra.observe.node_usage import Readings
from hami_dra.observe.pods import PodDirectory, PodName
from hami_dra.observe.shares import NodeShare

log = structlog.get_logger(__name__)

EVERY_S = 1.5
"""Two rounds make a report: within 5 s even when a round is slow."""

Policy = Literal["none", "warn", "stop"]

SAID = {
    "without-limiter": "holds {memory} of card {uuid} without the limiter",
    "beyond-ledger": "holds {memory} of card {uuid} more than it was granted",
    "without-ledger": "holds {memory} of card {uuid}, and the ledger of its share cannot be read",
    "without-share": "holds {memory} of card {uuid}, of which its Pod has no share",
}


SPARED = ("without-share", "without-ledger")
"""Not ours to stop: such a Pod may be a monitor of the cards, and such a ledger one of another release."""


@dataclass(frozen=True)
class Reported:
    """A finding with the names that a person knows."""

    node: str
    namespace: str
    pod: str
    container: str
    finding: Finding


@dataclass
class Counts:
    """What the audit did since the plugin began."""

    node: str
    rounds: int = 0
    reported: int = 0
    stopped: int = 0
    failed: int = 0


FINDINGS: Table[Reported] = Table(
    subject="processes that go past the limiter",
    labels=("node", "namespace", "pod", "container", "device_uuid", "kind"),
    row=lambda r: (
        r.node,
        r.namespace,
        r.pod,
        r.container,
        r.finding.process.device_uuid,
        r.finding.kind,
    ),
    families=(
        Family(
            "hami_audit_unbooked_memory_bytes",
            "Memory of a card that a Pod's processes hold past the limiter.",
            lambda r: r.finding.memory,
        ),
        Family("hami_audit_processes", "Processes that hold memory past the limiter.", lambda r: 1),
    ),
)
COUNTS: Table[Counts] = Table(
    subject="the audit itself",
    labels=("node",),
    row=lambda c: (c.node,),
    families=(
        Family("hami_audit_rounds_total", "Rounds of the audit.", lambda c: c.rounds, "counter"),
        Family("hami_audit_failures_total", "Rounds that could not look.", lambda c: c.failed, "counter"),
        Family("hami_audit_reports_total", "Processes that were reported.", lambda c: c.reported, "counter"),
        Family("hami_audit_stopped_total", "Processes that were stopped.", lambda c: c.stopped, "counter"),
    ),
)


class Auditor:
    """SAMPLE reads the ledgers, GRANTS what kubelet gave to whom; BOOK writes into the ledger of a share."""

    def __init__(
        self,
        node: str,
        policy: Policy,
        readings: Readings,
        sample: Callable[[], list[NodeShare]],
        grants: Callable[[], list[Grant]],
        book: Callable[[str, Iterable[Excess]], None],
        kube: KubeClient,
        proc: Path = processes.PROC,
    ) -> None:
        self._policy, self._readings, self._sample = policy, readings, sample
        self._grants, self._book, self._kube, self._proc = grants, book, kube, proc
        self._directory = PodDirectory(kube, grants)
        self._confirmation = Confirmation()
        self._excesses = Excesses()
        self._reported: dict[Key, Reported] = {}
        self.counts = Counts(node)

    def run(self, stop: threading.Event) -> None:
        """Look every 1.5 s until STOP is set. With the policy `none` the counters are taken down, no more."""
        before = ""
        while not stop.wait(EVERY_S):
            problem = self._try_round()
            if problem and problem != before:
                log.warning("the audit cannot look", problem=problem)
            if before and not problem:
                log.info("the audit can look again")
            before = problem

    def _try_round(self) -> str:
        """Why it cannot look now; empty when it could. That stays so for long while the driver is away."""
        try:
            self.round()
        except (errors.HamiError, OSError) as problem:
            self.counts.failed += 1
            return str(problem)
        return ""

    def round(self) -> None:
        """One look: the driver, the ledgers, and the driver again."""
        if self._policy == "none":
            self._book_all(self._sample(), {})
            return
        listed = self._readings.processes()
        shares = {share.share_id: share for share in self._sample()}
        again = self._readings.processes() if listed else []
        found = processes.tenants(listed, self._proc)
        grants = self._grants() if found else []
        if found and shares and not grants:
            raise errors.StateError("kubelet does not say which container holds which share")
        held = _by_pod(grants, shares)
        groups = grouped(found, lambda uid: held.get(self._directory.name(uid), ()))
        wanted = self._excesses.round(groups, again)
        if wanted is not None:
            self._book_all(shares.values(), wanted)
        findings = judge(groups)
        for finding in self._confirmation.round(findings):
            self._report(finding)
        standing = {finding.key: finding for finding in self._confirmation.standing}
        # What it holds now: a process may grow after it was reported.
        self._reported = {
            key: replace(each, finding=standing[key])
            for key, each in self._reported.items()
            if key in standing
        }
        self.counts.rounds += 1

    def text(self) -> Iterator[str]:
        """The audit's metrics."""
        if self._policy != "none":
            yield from render(FINDINGS, list(self._reported.values()))
            yield from render(COUNTS, [self.counts])

    def _book_all(self, shares: Iterable[NodeShare], wanted: Mapping[str, list[Excess]]) -> None:
        for share in shares:
            entries = sorted(wanted.get(share.share_id, []))
            if entries != sorted(share.ledger.excess):
                with suppress(OSError):  # the share is gone
                    self._book(share.share_id, entries)

    def _report(self, finding: Finding) -> None:
        process = finding.process
        pod = self._directory.pod(process.pod_uid)
        name = self._directory.name(process.pod_uid)
        container = pods.container_name(pod, process.container_id) if pod else ""
        self._reported[finding.key] = Reported(
            self.counts.node, name.namespace, name.name, container, finding
        )
        self.counts.reported += 1
        said = SAID[finding.kind].format(memory=format_bytes(finding.memory), uuid=process.device_uuid)
        stopped = self._policy == "stop" and finding.kind not in SPARED and self._stop(finding)
        message = f"Process {process.inner_pid} of container {container or process.container_id[:12]} {said}"
        message += "; it was stopped." if stopped else "."
        log.warning("limiter bypassed", pod=f"{name.namespace}/{name.name}", pid=process.pid, said=message)
        if pod:
            events.warn(self._kube, pod, "LimiterBypassed", message, "hami-dra")

    def _stop(self, finding: Finding) -> bool:
        """SIGKILL this process and no other that got its number since."""
        process = finding.process
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            return False
        try:
            if processes.started(process.pid, self._proc) != process.started:
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except OSError as problem:
            log.error("cannot stop a process", pid=process.pid, problem=str(problem))
            return False
        finally:
            os.close(descriptor)
        self.counts.stopped += 1
        return True


def _by_pod(grants: Iterable[Grant], shares: Mapping[str, NodeShare]) -> dict[PodName, list[NodeShare]]:
    """The SHARES (by id) that each Pod was granted."""
    held: dict[PodName, list[NodeShare]] = {}
    for grant in grants:
        if grant.share_id in shares:
            held.setdefault(PodName(grant.namespace, grant.pod), []).append(shares[grant.share_id])
    return held
