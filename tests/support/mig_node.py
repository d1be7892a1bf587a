"""A node with the guide's A10 and an A30 in MIG mode, whose plugin cuts cards on demand. Simulated at NVML.

A plugin on real sockets, with an API server in memory behind it. A process loads NVML once: one node in each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_uint
from pathlib import Path
from typing import Any

import pynvml

from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.nvidia import NvidiaBackend
from hami_dra.kube import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from hami_dra.node.plugin import Config, Plugin
from tests.support import mig_host
from tests.support.cards import NODE, claim
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
            limiter_folder=self.folder / "state/lib",
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
