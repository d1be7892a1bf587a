"""What a plugin finds when it starts, as Events on its Node: a reboot, a damaged checkpoint, lost cards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from hami_dra.kube import NODES, KubeClient
from hami_dra.kube.events import record
from hami_dra.model import errors

log = structlog.get_logger(__name__)

COMPONENT = "hami-dra-plugin"


@dataclass(frozen=True)
class Finding:
    """`reason` in CamelCase, as Events have it."""

    reason: str
    message: str
    bad: bool = True


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
