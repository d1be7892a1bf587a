"""Scenarios of dynamic MIG, simulated at NVML: `python -m tests.contract.dynamic_mig SCENARIO FOLDER`.

Each is a process of its own, for a process loads NVML once. A plugin serves the guide's A10 and an A30 in MIG
mode on real sockets, with an API server in memory behind it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_uint
from pathlib import Path
from typing import Any

import pynvml

from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.nvidia import NvidiaBackend
from hami_dra.kube import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from hami_dra.node import inventory
from hami_dra.node.plugin import Config, Plugin
from tests.support import mig_host
from tests.support.cards import NODE, claim, share
from tests.support.fake_kube import FakeKube
from tests.support.kubelet import Kubelet
from tests.support.mig_host import A30
from tests.support.waiting import until

GPU = "hami-core-gpu.project-hami.io"
KINDS = (0, 1, 3)
"""NVML's profiles for one slice, two and four."""
ONE_SIX, HALF, OTHER_HALF, ALL = (
    f"hami-mig-1-{name}" for name in ("1g-6gb-1", "2g-12gb-0", "2g-12gb-2", "4g-24gb-0")
)


class Node:
    """The node below FOLDER; within `with` its plugin serves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        os.environ |= mig_host.make(folder)
        self.kube = FakeKube()
        self.kube.create(NODES, {"metadata": {"name": NODE}})
        self.plugin: Plugin | None = None
        self.kubelet: Kubelet | None = None

    @property
    def note(self) -> Path:
        return self.folder / "state/mig-instances.json"

    def __enter__(self) -> Node:
        config = Config(
            node=NODE,
            state=self.folder / "state",
            limiter=self.folder / "libvgpu.so",
            cdi=self.folder / "cdi",
            plugins=self.folder / "plugins",
            registry=self.folder / "registry",
        )
        root = DriverRoot(self.folder / "root", Path("/run/nvidia/driver"))
        self.plugin = Plugin(config, self.kube, NvidiaBackend(root, partitions=self.note))
        self.plugin.start()
        self.kubelet = Kubelet(config.registry, driver=GPU)
        self.kubelet.register()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.plugin
        assert self.kubelet
        self.kubelet.close()
        self.plugin.stop()

    def claim(self, name: str, *results: dict[str, Any]) -> dict[str, Any]:
        return self.kube.create(RESOURCE_CLAIMS, claim(name, *results), "default")

    def prepare(self, body: dict[str, Any]) -> str:
        assert self.kubelet
        return str(self.kubelet.prepare(body)[body["metadata"]["uid"]].error)

    def unprepare(self, body: dict[str, Any]) -> str:
        assert self.kubelet
        return str(self.kubelet.unprepare(body)[body["metadata"]["uid"]].error)

    def device_nodes(self, body: dict[str, Any]) -> list[str]:
        path = self.folder / f"cdi/k8s.{GPU}-claim_{body['metadata']['uid']}.yaml"
        (device,) = json.loads(path.read_text())["devices"]
        return [node["path"] for node in device["containerEdits"]["deviceNodes"]]

    def slices(self, count: int) -> list[dict[str, Any]]:
        until(lambda: len(self.kube.list(RESOURCE_SLICES)[0]) == count)
        return [item["spec"] for item in self.kube.list(RESOURCE_SLICES)[0]]


def partition(device: str) -> dict[str, Any]:
    """An allocation result of a device that is not shared: no share id, nothing consumed."""
    return {"device": device, "driver": GPU, "pool": NODE, "request": "mig"}


@contextmanager
def a30() -> Iterator[Any]:
    """The card, as an administrator or a reboot get at it."""
    pynvml.nvmlInit()
    try:
        yield pynvml.nvmlDeviceGetHandleByUUID(A30["uuid"])
    finally:
        pynvml.nvmlShutdown()


def cut(card: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Its GPU instances, each with its compute instances."""
    for kind in KINDS:
        profile = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(card, kind).id
        count, made = c_uint(8), (pynvml.c_nvmlGpuInstance_t * 8)()
        pynvml.nvmlDeviceGetGpuInstances(card, profile, made, byref(count))
        for one in made[: count.value]:
            computing, within = c_uint(8), (pynvml.c_nvmlComputeInstance_t * 8)()
            pynvml.nvmlGpuInstanceGetComputeInstances(one, kind, within, byref(computing))
            yield one, within[: computing.value]


def instances() -> list[tuple[int, int, bool]]:
    """(first slice, slices, has a compute instance) of the A30."""
    with a30() as card:
        found = [(pynvml.nvmlGpuInstanceGetInfo(one).placement, within) for one, within in cut(card)]
        return sorted((place.start, place.size, bool(within)) for place, within in found)


def cut_by_hand(kind: int, start: int, size: int) -> None:
    """As an administrator does it."""
    with a30() as card:
        profile = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(card, kind).id
        place = pynvml.c_nvmlGpuInstancePlacement_t(start, size)
        made = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(card, profile, byref(place))
        pynvml.nvmlGpuInstanceCreateComputeInstance(made, kind)


def forget_instances(*, half: bool = False) -> None:
    """As a reboot does it; HALF: as a crash between an instance and its compute instance leaves it."""
    with a30() as card:
        for one, within in list(cut(card)):
            for each in within:
                pynvml.nvmlComputeInstanceDestroy(each)
            if not half:
                pynvml.nvmlGpuInstanceDestroy(one)


def published(folder: Path) -> None:
    with Node(folder) as node:
        specs = node.slices(2)
        (counters,) = [spec["sharedCounters"] for spec in specs if "sharedCounters" in spec]
        (devices,) = [spec["devices"] for spec in specs if "devices" in spec]
        assert {spec["pool"]["resourceSliceCount"] for spec in specs} == {2}
        assert counters == [
            {"name": "hami-gpu-1", "counters": {f"slice-{at}": {"value": "1"} for at in range(4)}}
        ]
        names = [device["name"] for device in devices]
        assert names[:2] == ["hami-gpu-0", "hami-mig-1-1g-6gb-0"]
        assert "hami-gpu-1" not in names, "a card in MIG mode is never had whole beside its slices"
        half = devices[names.index(OTHER_HALF)]
        assert half["consumesCounters"] == [
            {"counterSet": "hami-gpu-1", "counters": {"slice-2": {"value": "1"}, "slice-3": {"value": "1"}}}
        ]
        assert not half.get("allowMultipleAllocations")
        assert half["capacity"]["memory"] == {"value": "12Gi"}
        assert half["attributes"]["profile"] == {"string": "2g.12gb"}
        assert "consumesCounters" not in devices[0]


def made_and_destroyed(folder: Path) -> None:
    with Node(folder) as node:
        first, second = node.claim("a", partition(OTHER_HALF)), node.claim("b", partition(ONE_SIX))
        assert instances() == []
        assert node.prepare(first) == ""
        assert instances() == [(2, 2, True)]
        nodes = node.device_nodes(first)
        assert nodes == ["/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap10", "/dev/nvidia-caps/nvidia-cap11"]
        assert node.prepare(first) == "", "again, as kubelet does"
        assert node.prepare(second) == ""
        assert instances() == [(1, 1, True), (2, 2, True)]
        assert node.unprepare(first) == ""
        assert instances() == [(1, 1, True)], "the other claim keeps its own"
        assert node.unprepare(first) == ""
        assert node.unprepare(second) == ""
        assert instances() == []
        assert not list((folder / "cdi").iterdir())


def beside_a_share(folder: Path) -> None:
    """The other card is shared under the limiter as ever."""
    with Node(folder) as node:
        body = node.claim("a", share("10Gi", "50"))
        assert node.prepare(body) == ""
        assert len(list((folder / "state/shares").iterdir())) == 1
        half = node.claim("b", partition(HALF))
        assert node.prepare(half) == ""
        assert len(list((folder / "state/shares").iterdir())) == 1, "an instance is held by the hardware"
        assert node.unprepare(half) == ""
        assert len(list((folder / "state/shares").iterdir())) == 1


def rebuilt(folder: Path) -> None:
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        node.prepare(body)
    assert instances() == [(0, 2, True)], "a running Pod keeps it while the plugin is away"
    forget_instances()
    shutil.rmtree(folder / "cdi")
    with node:
        assert instances() == [(0, 2, True)]
        assert node.device_nodes(body)[0] == "/dev/nvidia1"
        assert node.unprepare(body) == ""
        assert instances() == []


def without_device_nodes(folder: Path) -> None:
    """The driver is slow to make them: no container may start without, and kubelet asks again."""
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        (folder / "root/dev/nvidia-caps/nvidia-cap11").unlink()
        assert "/dev/nvidia-caps has no node for it yet" in node.prepare(body)
        (folder / "root/dev/nvidia-caps/nvidia-cap11").touch()
        assert node.prepare(body) == ""
        assert node.device_nodes(body)[2] == "/dev/nvidia-caps/nvidia-cap11"


def given_away_twice(folder: Path) -> None:
    with Node(folder) as node:
        first, second = node.claim("a", partition(HALF)), node.claim("b", partition(ALL))
        assert node.prepare(first) == ""
        said = node.prepare(second)
        assert "hami-mig-1-2g-12gb-0, which is given away as well, are cut from the same slices" in said
        assert instances() == [(0, 2, True)]


def cut_by_an_administrator(folder: Path) -> None:
    node = Node(folder)
    os.environ["LD_LIBRARY_PATH"] = ""
    NvidiaBackend(DriverRoot(folder / "root", Path("/"))).discover()  # loads the library
    cut_by_hand(1, 2, 2)
    with node:
        (spec,) = node.slices(1)
        assert [device["name"] for device in spec["devices"]] == ["hami-gpu-0", "hami-mig-1-1-0"]
        assert spec["devices"][1]["allowMultipleAllocations"] is True
        body = node.claim("a", share("10Gi", "50", device="hami-mig-1-1-0"))
        assert node.prepare(body) == ""
        assert node.unprepare(body) == ""
        assert instances() == [(2, 2, True)], "it is not ours to destroy"


def cut_by_hand_beside_ours(folder: Path) -> None:
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        node.prepare(body)
        cut_by_hand(1, 2, 2)
        assert instances() == [(0, 2, True), (2, 2, True)]
        assert node.unprepare(body) == ""
        assert instances() == [(2, 2, True)]


def cut_by_hand_and_restarted(folder: Path) -> None:
    """What is cut by hand takes the card away from us, and no Pod's instance from it."""
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        node.prepare(body)
    cut_by_hand(1, 2, 2)
    with node:
        assert instances() == [(0, 2, True), (2, 2, True)]
        other = node.claim("b", share("1Gi", "5"))
        assert node.prepare(other) == ""
        assert instances() == [(0, 2, True), (2, 2, True)]
        assert node.unprepare(body) == ""


def left_by_a_crash(folder: Path) -> None:
    """Between the note and the instance, between the instance and its compute instance."""
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        node.prepare(body)
    forget_instances(half=True)
    noted = json.loads(node.note.read_text())
    node.note.write_text(json.dumps([*noted, [A30["uuid"], 14, 3]]))
    with node:
        assert instances() == [(0, 2, True)]
        assert json.loads(node.note.read_text()) == noted


def note_after_a_power_cut(folder: Path) -> None:
    """Nothing is synced, so that any file may be empty or full of zeros then. The instances are gone."""
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        assert node.prepare(body) == ""
    for content in (b"", bytes(40), b"{}", b"[1]"):
        forget_instances()
        node.note.write_bytes(content)
        with node:
            assert instances() == [(0, 2, True)]
    with node:
        assert node.unprepare(body) == ""
        assert instances() == []


def lost(folder: Path) -> None:
    """The card falls off under a claim: claims of the other card come and go all the same."""
    with Node(folder) as node:
        gone = node.claim("gone", partition(HALF))
        early, late = (node.claim(name, share("1Gi", "5")) for name in ("early", "late"))
        assert [node.prepare(gone), node.prepare(early)] == ["", ""]
        (folder / "sim.faults").write_text(f"lost {A30['uuid']}\n")
        assert node.prepare(late) == ""
        assert node.unprepare(early) == ""
        assert node.prepare(gone) != ""
        assert node.unprepare(gone) == ""
        assert node.unprepare(late) == ""


def cannot_be_made(folder: Path) -> None:
    """Somebody cuts the card in the very place of a claim: only that claim waits, on this card as well."""
    inventory.POLL_S = 3600.0  # the plugin has not looked since
    with Node(folder) as node:
        stuck = node.claim("stuck", partition(HALF))
        early, late = (node.claim(name, share("1Gi", "5")) for name in ("early", "late"))
        beside = node.claim("beside", partition(OTHER_HALF))
        assert node.prepare(early) == ""
        cut_by_hand(1, 0, 2)
        assert "not ours" in node.prepare(stuck)
        assert node.prepare(late) == ""
        assert node.prepare(beside) == ""
        assert instances() == [(0, 2, True), (2, 2, True)]
        assert node.unprepare(early) == ""
        assert node.unprepare(beside) == ""
        assert instances() == [(0, 2, True)]
        assert "not ours" in node.prepare(stuck)
        assert node.unprepare(stuck) == ""
        assert instances() == [(0, 2, True)]


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
