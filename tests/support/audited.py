"""The node's audit over real processes of a simulated card; /proc puts them all in one Pod's container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hami_dra.kube import EVENTS, PODS, RESOURCE_CLAIMS
from hami_dra.model.reading import DriverProcess
from hami_dra.observe.auditor import Auditor
from hami_dra.observe.holders import Grant
from hami_dra.observe.node_usage import NodeUsage
from tests.support.fake_kube import FakeKube
from tests.support.limited import A10, SimulatedShares

UID = "d99dc6df-092c-4f3a-ac55-cfb88c017af7"
CONTAINER = "4f" * 32


def cluster_with_the_pod() -> FakeKube:
    """An API with the Pod `train` and its claim."""
    fake = FakeKube()
    status = {"containerStatuses": [{"name": "cuda", "containerID": f"containerd://{CONTAINER}"}]}
    pod = fake.create(PODS, {"metadata": {"name": "train", "uid": UID}, "status": status}, "ml")
    holder = {"resource": "pods", "name": "train", "uid": pod["metadata"]["uid"]}
    fake.create(RESOURCE_CLAIMS, {"metadata": {"name": "half"}, "status": {"reservedFor": [holder]}}, "ml")
    return fake


class Driver:
    """The simulated card's processes, as NVML would list them."""

    def __init__(self) -> None:
        self.found: list[DriverProcess] = []

    def cards(self) -> list[Any]:
        return []

    def processes(self) -> list[DriverProcess]:
        return list(self.found)


class Audited:
    """The audit of NODE, whose share `one` the Pod holds. FOLDER: for its /proc."""

    def __init__(self, folder: Path, node: SimulatedShares, kube: FakeKube, policy: str = "warn") -> None:
        self.kube, self.driver, self._proc = kube, Driver(), folder / "proc"
        self._uid = kube.list(PODS)[0][0]["metadata"]["uid"]
        self.grants = [Grant("ml", "train", "cuda", "half", "hami-gpu-0", "one")]
        self.usage = NodeUsage("n1", node.state, self.driver, lambda: self.grants, legacy=False)
        self.auditor = Auditor(
            "n1",
            policy,  # type: ignore[arg-type]
            self.driver,
            self.usage.sample,
            lambda: self.grants,
            self.usage.book,
            kube,
            self._proc,
        )

    def kubelet_is_silent(self) -> None:
        """From now on it does not say who holds what."""
        self.grants.clear()

    def sees(self, pid: int, memory: int, uuid: str = A10) -> None:
        """From now on the driver lists a process, with so much memory."""
        own = self._proc / str(pid)
        if not own.exists():
            own.mkdir(parents=True)
            (own / "cgroup").write_text(f"0::/kubepods/burstable/pod{self._uid}/{CONTAINER}\n")
            (own / "status").write_text(f"Name:\tx\nNSpid:\t{pid}\n")
            (own / "stat").write_text(Path(f"/proc/{pid}/stat").read_text())
        self.driver.found = [each for each in self.driver.found if each.pid != pid]
        self.driver.found.append(DriverProcess(uuid, pid, memory))

    def rounds(self, count: int = 2) -> str:
        """Let it look so often; its metrics."""
        for _ in range(count):
            self.auditor.round()
        return "".join(self.auditor.text())

    def events(self) -> list[str]:
        """What it said on the Pod."""
        return [event["message"] for event in self.kube.list(EVENTS)[0]]
