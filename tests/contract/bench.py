"""A driver under test between a kubelet and an API server of ours: what the checks work with."""

from __future__ import annotations

import copy
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from hami_dra.kube import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES, KubeClient
from hami_dra.model import errors
from tests.support.fake_kube import FakeKube
from tests.support.kube_server import serving
from tests.support.kubelet import DEADLINE_S, Kubelet
from tests.support.waiting import until

Object = dict[str, Any]
PATIENCE_S = 120.0
"""A driver that imports much takes half a minute to start on a machine with other work."""
REFUSALS = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)
"""Of a whole call; UNAVAILABLE and its kin mean that the driver broke."""


@dataclass
class Bench:
    """`start` runs the driver's command (None: it runs already). `api` is set when the API server is ours.

    `deadline_s`: what kubelet gives one call.
    """

    kube: KubeClient
    registry: Path
    node: str
    driver: str = ""
    cdi: Path | None = None
    command: list[str] = field(default_factory=list)
    api: FakeKube | None = None
    log: Path | None = None
    state: tuple[Path, ...] = ()
    deadline_s: float = DEADLINE_S
    process: subprocess.Popen[bytes] | None = None
    kubelet: Kubelet = field(init=False)

    def __post_init__(self) -> None:
        self.kubelet = Kubelet(self.registry, driver=self.driver, deadline_s=self.deadline_s)

    def start(self) -> None:
        """Start the driver when it does not run, and register it."""
        if self.command and self.process is None:
            with open(self.log or "/dev/null", "ab") as log:
                self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        self.kubelet.register(PATIENCE_S)
        self.driver = self.kubelet.info.name

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the driver with a signal and wait for it."""
        self.kubelet.close()
        if self.process is not None:
            self.process.send_signal(how)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def slices(self) -> list[Object]:
        """What the driver published for this node."""
        found, _ = self.kube.list(RESOURCE_SLICES)
        return [
            item
            for item in found
            if item["spec"]["driver"] == self.driver and item["spec"].get("nodeName") == self.node
        ]

    def devices(self) -> list[tuple[str, Object]]:
        """Pairs of pool and device, once the pool is complete."""
        until(lambda: self.slices(), "a ResourceSlice of the driver", PATIENCE_S)
        return [
            (item["spec"]["pool"]["name"], device)
            for item in self.slices()
            for device in item["spec"].get("devices") or []
        ]

    def result(self, at: int = 0, **change: Any) -> Object:
        """What the scheduler would write for the device number AT; of CHANGE None takes a key away."""
        pool, device = self.devices()[at]
        result: Object = {"request": "r0", "driver": self.driver, "pool": pool, "device": device["name"]}
        if device.get("allowMultipleAllocations"):
            result["shareID"] = str(uuid.uuid4())
            result["consumedCapacity"] = {
                name: _smallest(capacity) for name, capacity in (device.get("capacity") or {}).items()
            }
        return {key: value for key, value in (result | change).items() if value is not None}

    def claim(self, *results: Object) -> Object:
        """A claim in the API, allocated when there are results."""
        name = f"conformance-{uuid.uuid4().hex[:8]}"
        body: Object = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"devices": {"requests": [{"name": "r0", "exactly": {"deviceClassName": "none"}}]}},
        }
        self.kube.create(RESOURCE_CLAIMS, body, "default")
        if results:
            devices = {"results": copy.deepcopy(list(results))}
            status = {"status": {"allocation": {"devices": devices}}}
            self.kube.patch(RESOURCE_CLAIMS, name, status, "default", subresource="status")
        return self.kube.get(RESOURCE_CLAIMS, name, "default")

    def forget(self, claim: Object) -> None:
        """Delete a claim from the API."""
        with suppress(errors.NotFound):
            self.kube.delete(RESOURCE_CLAIMS, claim["metadata"]["name"], "default")

    def prepare(self, claim: Object) -> Any:
        """The answer for one claim."""
        return self.kubelet.prepare(claim)[claim["metadata"]["uid"]]

    def unprepare(self, claim: Object) -> Any:
        """The answer for one claim."""
        return self.kubelet.unprepare(claim)[claim["metadata"]["uid"]]

    @contextmanager
    def claimed(self, *results: Object) -> Iterator[Object]:
        """As `claim`; whatever becomes of it, it is unprepared and deleted in the end."""
        claim = self.claim(*results)
        try:
            yield claim
        finally:
            self.unprepare(claim)
            self.forget(claim)

    @contextmanager
    def prepared(self, *results: Object) -> Iterator[tuple[Object, Any]]:
        """A claim that is prepared, with its answer."""
        with self.claimed(*(results or (self.result(),))) as claim:
            answer = self.prepare(claim)
            assert not answer.error, f"prepare refused an allocated claim: {answer.error}"
            yield claim, answer

    def refused(self, *results: Object, why: str) -> str:
        """The error for a claim with these results, which must not be granted."""
        with self.claimed(*results) as claim:
            return self.refused_claim(claim, why)

    def refused_claim(self, claim: Object, why: str) -> str:
        """The error for a claim that must not be granted: of the claim, or of the whole call."""
        try:
            answer = self.prepare(claim)
        except grpc.RpcError as refused:
            if refused.code() not in REFUSALS:
                raise
            return str(refused.details())
        assert answer.error, f"prepared although {why}"
        assert not answer.devices, "an error together with devices"
        return str(answer.error)


def cdi_ids(answer: Any) -> list[list[str]]:
    """The CDI names of each device of an answer."""
    return [list(device.cdi_device_ids) for device in answer.devices]


def _smallest(capacity: Object) -> str:
    policy = capacity.get("requestPolicy") or {}
    if policy.get("validValues"):
        return str(policy["validValues"][0])
    return str((policy.get("validRange") or {}).get("min", capacity["value"]))


@contextmanager
def own_api(node: str) -> Iterator[tuple[FakeKube, Path]]:
    """An API server in memory that knows NODE, and the kubeconfig that leads to it."""
    kube = FakeKube()
    kube.create(NODES, {"metadata": {"name": node}})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="contract")))
        yield kube, stack.enter_context(serving(kube, folder))
