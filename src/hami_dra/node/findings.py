"""What a plugin finds when it starts, as Events on its Node: a reboot, a damaged checkpoint, lost cards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from hami_dra.kube import NODES, KubeClient
from hami_dra.kube.events import record
from hami_dra.model import errors
from hami_dra.node.files import write_whole

log = structlog.get_logger(__name__)

COMPONENT = "hami-dra-plugin"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Finding:
    """`reason` in CamelCase, as Events have it."""

    reason: str
    message: str
    bad: bool = True


def reboot(state: Path, claims: int, boot_id: Path = BOOT_ID) -> list[Finding]:
    """Say when the node was started anew since the last plugin of this STATE, and CLAIMS were rebuilt."""
    now = boot_id.read_bytes()
    file = state / "boot-id"
    before = file.read_bytes() if file.is_file() else now
    if before != now or not file.is_file():
        write_whole(file, now)
    if before == now or not claims:
        return []
    text = f"the node was started anew: files of {claims} prepared claims rebuilt"
    return [Finding("ClaimsRestored", text, bad=False)]


def tell(kube: KubeClient, node: str, found: Iterable[Finding]) -> None:
    """Log each finding and write it as an Event on the Node."""
    for each in found:
        (log.error if each.bad else log.info)("found at start", reason=each.reason, what=each.message)
        try:
            about = {"apiVersion": "v1", "kind": "Node", "metadata": kube.get(NODES, node)["metadata"]}
        except errors.KubeError as problem:
            log.warning("no Event on the Node", error=str(problem))
            return
        record(kube, about, each.reason, each.message, COMPONENT, type="Warning" if each.bad else "Normal")
