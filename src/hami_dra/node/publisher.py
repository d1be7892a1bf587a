"""Keeps this node's ResourceSlice in the API as planned: published, put back, and checked for lost fields."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog

from hami_dra.kube import NODES, RESOURCE_SLICES, KubeClient
from hami_dra.model import errors
from hami_dra.model.device import Device
from hami_dra.node import metrics, slices

log = structlog.get_logger(__name__)

# A watch that the server ends, or that dies in silence, costs at most this long.
WATCH_S = 60
PAUSE_S = 1.0


class Publisher:
    """Owns our slices of this node. `problem` says why the slice is not usable, None if it is."""

    def __init__(self, kube: KubeClient, node: str, driver: str, devices: Sequence[Device]) -> None:
        self._kube = kube
        self._node = node
        self._driver = driver
        self._devices = devices
        self._fields = f"spec.nodeName={node},spec.driver={driver}"
        self._node_uid: str | None = None
        self._generation = 0
        self._stored: dict[str, Any] | None = None
        self._name = ""
        self.problem: str | None = "not published yet"

    def run(self, stop: threading.Event) -> None:
        """Publish, then watch and put back until STOP is set; problems are logged and tried again."""
        while not stop.is_set():
            try:
                version = self.sync()
                self._wait_for_change(version, stop)
            except errors.Gone:
                continue
            except errors.KubeError as problem:
                self.problem = f"ResourceSlice not published: {problem}"
                log.warning("slice not published", error=str(problem))
            stop.wait(PAUSE_S)

    def sync(self) -> str:
        """Make the API agree with the plan; return the resource version to watch from."""
        found, version = self._kube.list(RESOURCE_SLICES, fields=self._fields)
        self._generation = max([self._generation, *(_generation(item) for item in found)])
        keep = next((item for item in found if item["metadata"]["name"] == self._name), None)
        keep = keep or (found[0] if found else None)
        for item in found:
            if item is not keep:
                self._delete(item)
        if keep is None or not self._as_published(keep):
            self._publish(keep)
        else:
            self._name = keep["metadata"]["name"]
            self.problem = self._lost(keep["spec"])
        return version

    def _wait_for_change(self, version: str, stop: threading.Event) -> None:
        for event in self._kube.watch(RESOURCE_SLICES, version, fields=self._fields, timeout_s=WATCH_S):
            if stop.is_set():
                return
            if event.type == "BOOKMARK":
                continue
            ours = event.object["metadata"]["name"] == self._name
            if event.type == "DELETED" and not ours:
                continue
            if event.type == "DELETED" or not ours or not self._as_published(event.object):
                log.info(
                    "slice changed by someone else", slice=event.object["metadata"]["name"], how=event.type
                )
                return

    def _as_published(self, item: dict[str, Any]) -> bool:
        """Compare with what the server stored for us, so that defaults it may add are no difference."""
        spec = self._stored or self._plan(_generation(item))["spec"]
        return bool(item["spec"] == spec | {"pool": spec["pool"] | {"generation": _generation(item)}})

    def _publish(self, old: dict[str, Any] | None) -> None:
        self._generation += 1
        body = self._plan(self._generation)
        if old is None:
            stored = self._kube.create(RESOURCE_SLICES, body)
        else:
            body["metadata"] |= {key: old["metadata"][key] for key in ("name", "resourceVersion")}
            stored = self._kube.replace(RESOURCE_SLICES, body)
        self._name, self._stored = stored["metadata"]["name"], stored["spec"]
        self.problem = self._lost(stored["spec"])
        metrics.PUBLISHES.inc()
        log.info("slice published", slice=self._name, devices=len(self._devices), generation=self._generation)

    def _lost(self, stored: dict[str, Any]) -> str | None:
        lost = slices.dropped_fields(self._plan(_generation({"spec": stored}))["spec"], stored)
        if not lost:
            return None
        problem = (
            f"the API server dropped {', '.join(lost[:3])} of the ResourceSlice: switch on the feature gate"
            " DRAConsumableCapacity in kube-apiserver, kube-scheduler, kube-controller-manager and kubelet"
        )
        log.error("slice fields dropped", error=problem)
        return problem

    def _plan(self, generation: int) -> dict[str, Any]:
        if self._node_uid is None:
            self._node_uid = self._kube.get(NODES, self._node)["metadata"]["uid"]
        return slices.resource_slice(
            self._node, self._driver, self._devices, node_uid=self._node_uid, generation=generation
        )

    def _delete(self, item: dict[str, Any]) -> None:
        with suppress(errors.NotFound, errors.Conflict):  # gone already: what we wanted
            self._kube.delete(RESOURCE_SLICES, item["metadata"]["name"], uid=item["metadata"]["uid"])


def _generation(item: dict[str, Any]) -> int:
    return int(item["spec"]["pool"]["generation"])
