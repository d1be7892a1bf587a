"""Names of Pods by uid: a cgroup has the uid only, and a claim that is reserved for the Pod has both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hami_dra.kube import PODS, RESOURCE_CLAIMS, KubeClient
from hami_dra.kube.protocol import Object
from hami_dra.model import errors
from hami_dra.observe.holders import Grant

ASK_AGAIN_AFTER_S = 30.0
"""For a uid that no claim of ours names: a Pod without a share is looked up no more often."""


@dataclass(frozen=True)
class PodName:
    """A Pod's names; empty for one that no claim of ours is reserved for."""

    namespace: str = ""
    name: str = ""


class PodDirectory:
    """Asks the API only when a uid turns up that it does not know."""

    def __init__(self, kube: KubeClient, grants: Callable[[], list[Grant]]) -> None:
        self._kube, self._grants = kube, grants
        self._names: dict[str, PodName] = {}
        self._unknown: dict[str, float] = {}

    def name(self, uid: str) -> PodName:
        """The Pod's names. errors.KubeError: it is not known, and the API server cannot be asked."""
        if uid not in self._names and self._unknown.get(uid, 0.0) < time.monotonic():
            self._names = self._reserved()
            self._unknown = {each: until for each, until in self._unknown.items() if each not in self._names}
            if uid not in self._names:
                self._unknown[uid] = time.monotonic() + ASK_AGAIN_AFTER_S
        return self._names.get(uid, PodName())

    def pod(self, uid: str) -> Object | None:
        """The Pod itself; None when it is gone, is another one by now, or cannot be read."""
        name = self.name(uid)
        if not name.name:
            return None
        try:
            pod = self._kube.get(PODS, name.name, name.namespace)
        except errors.KubeError:
            return None
        return pod if pod["metadata"]["uid"] == uid else None

    def _reserved(self) -> dict[str, PodName]:
        names = {}
        for namespace, claim in sorted({(grant.namespace, grant.claim) for grant in self._grants()}):
            try:
                found = self._kube.get(RESOURCE_CLAIMS, claim, namespace)
            except errors.NotFound:
                continue
            for holder in found.get("status", {}).get("reservedFor") or []:
                names[holder.get("uid", "")] = PodName(namespace, holder["name"])
        return names


def container_name(pod: Object, container_id: str) -> str:
    """Name of the container with this id (without the runtime's `containerd://`), empty if there is none."""
    status = pod.get("status", {})
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(kind) or []:
            if container.get("containerID", "").endswith(f"//{container_id}"):
                return str(container["name"])
    return ""
