"""Tells the cluster what became of claims, beside the answer to kubelet and never in its way.

A thread of its own writes Events on the Pods of a claim that was refused, and `status.devices` of a claim
that was prepared. What cannot be written is logged and forgotten: kubelet has its answer already.
"""

from __future__ import annotations

import datetime
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from hami_dra.kube import RESOURCE_CLAIMS, KubeClient
from hami_dra.kube.events import warn
from hami_dra.model import errors
from hami_dra.model.claim import ClaimRef, users
from hami_dra.node.claim_files import Granted
from hami_dra.node.findings import COMPONENT

log = structlog.get_logger(__name__)

SAY_AGAIN_S = 300.0
"""kubelet asks every few seconds for a claim that it cannot have: once in a while is enough."""
SETTLED_S = 3.0
"""A status that is written at once would compete with the Pod's start for the API server."""
MOST_WAITING = 1000


class Reporter:
    """`prepared`, `unprepared` and `refused` return at once; `run` does the work."""

    def __init__(self, kube: KubeClient, driver: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._driver = driver
        self._clock = clock
        self._refused: queue.Queue[Callable[[], None]] = queue.Queue(MOST_WAITING)
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], float] = {}
        self._ready: dict[str, tuple[float, ClaimRef, Sequence[Granted]]] = {}  # by uid, oldest first
        self._writes_status = True

    def run(self, stop: threading.Event) -> None:
        """Write what is reported until STOP is set."""
        while not stop.is_set():
            with suppress(queue.Empty):
                self._try(self._refused.get(timeout=0.5))
            self.write_due()

    def write_due(self) -> None:
        """Write what is to be said by now: refusals, and the status of claims that are ready for a while."""
        with suppress(queue.Empty):
            while True:
                self._try(self._refused.get_nowait())
        for uid, (due, ref, granted) in list(self._ready.items()):
            if due > self._clock():
                return
            if self._ready.pop(uid, None) is not None:
                self._try(partial(self._write_status, ref, granted))

    def prepared(self, ref: ClaimRef, granted: Sequence[Granted]) -> None:
        """Say in `status.devices` that the claim's devices are ready, once its Pod has had time to start."""
        if self._writes_status:
            self._ready[ref.uid] = (self._clock() + SETTLED_S, ref, granted)

    def unprepared(self, ref: ClaimRef) -> None:
        """Nothing is to be said of the claim any more."""
        self._ready.pop(ref.uid, None)

    def refused(self, ref: ClaimRef, reason: str, message: str) -> None:
        """Say on the Pods that wait for the claim why it was refused."""
        with self._lock:
            now = self._clock()
            self._said = {key: at for key, at in self._said.items() if now - at < SAY_AGAIN_S}
            if (ref.uid, reason) in self._said:
                return
            self._said[ref.uid, reason] = now
        with suppress(queue.Full):
            self._refused.put_nowait(partial(self._tell_pods, ref, reason, message))

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except errors.KubeError as problem:
            log.info("not reported to the API", error=str(problem))

    def _tell_pods(self, ref: ClaimRef, reason: str, message: str) -> None:
        claim = self._kube.get(RESOURCE_CLAIMS, ref.name, ref.namespace)
        if claim["metadata"]["uid"] != ref.uid:
            return  # another claim of that name by now, and its Pods wait for nothing of this one
        pods = users(claim)
        log.info("telling the Pods", **ref.fields, pods=[pod["name"] for pod in pods], reason=reason)
        for pod in pods:
            warn(self._kube, {"metadata": pod | {"namespace": ref.namespace}}, reason, message, COMPONENT)

    def _write_status(self, ref: ClaimRef, granted: Sequence[Granted]) -> None:
        try:
            self._kube.patch(
                RESOURCE_CLAIMS,
                ref.name,
                status(self._driver, ref, granted),
                ref.namespace,
                type="apply",
                subresource="status",
                manager=self._driver,  # another family has a part of the claim, and its own to say
            )
        except errors.Denied as problem:
            if problem.status != 403:  # of this claim alone: by now another one of that name, for example
                raise
            self._writes_status = False
            log.warning("status.devices is not written from now on", error=str(problem))
        except errors.Conflict:
            pass  # another claim of that name by now


def status(driver: str, ref: ClaimRef, granted: Sequence[Granted]) -> dict[str, Any]:
    """The claim as it is applied: its uid, so that no later claim of that name is meant, and our devices."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "reason": "Prepared", "lastTransitionTime": now}
    devices = [
        {"driver": driver, "pool": each.pool, "device": each.device}
        | ({"shareID": each.share_id} if each.share_id else {})
        | {"conditions": [ready | {"message": f"CDI device {each.cdi_ids[-1]}"}]}
        for each in granted
    ]
    return {
        "apiVersion": RESOURCE_CLAIMS.api_version,
        "kind": RESOURCE_CLAIMS.kind,
        "metadata": {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid},
        "status": {"devices": devices},
    }
