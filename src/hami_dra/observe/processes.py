"""Which Pod and container a process of this node belongs to, from /proc (cgroup v1 and v2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hami_dra.model.reading import DriverProcess

PROC = Path("/proc")

_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")
_CONTAINER = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TenantProcess:
    """A process of a Pod that holds memory of a card.

    `pid` and `started` (clock ticks after boot) tell it from every other process; `inner_pid` is its number
    in its container; `memory` in bytes, as the driver says.
    """

    device_uuid: str
    pid: int
    started: int
    inner_pid: int
    memory: int
    pod_uid: str
    container_id: str


def tenants(found: Iterable[DriverProcess], proc: Path = PROC) -> list[TenantProcess]:
    """Those of the driver's processes that belong to a Pod. One that ended meanwhile is left out."""
    return [process for each in found if (process := _tenant(each, proc)) is not None]


def pod_of(cgroup: str) -> tuple[str, str]:
    """(Pod uid, container id) in the text of a /proc/PID/cgroup, empty for a process of the host.

    Names are `pod<uid>/<id>` with the cgroupfs driver, and with systemd's
    `kubepods-burstable-pod<uid with _>.slice/cri-containerd-<id>.scope`.
    """
    for line in cgroup.splitlines():
        pod = _POD.search(line)
        if pod:
            container = _CONTAINER.findall(line[pod.end() :])
            return pod[1].replace("_", "-"), container[-1] if container else ""
    return "", ""


def started(pid: int, proc: Path = PROC) -> int:
    """Start time of a process; OSError when it is gone."""
    # The command's name, in parentheses, may hold spaces and parentheses of its own.
    return int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])


def _tenant(process: DriverProcess, proc: Path) -> TenantProcess | None:
    folder = proc / str(process.pid)
    try:
        pod_uid, container_id = pod_of((folder / "cgroup").read_text())
        if not pod_uid:
            return None
        return TenantProcess(
            device_uuid=process.uuid,
            pid=process.pid,
            started=started(process.pid, proc),
            inner_pid=_inner_pid((folder / "status").read_text()) or process.pid,
            memory=process.memory,
            pod_uid=pod_uid,
            container_id=container_id,
        )
    except (OSError, ValueError, IndexError):
        return None


def _inner_pid(status: str) -> int:
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return 0
